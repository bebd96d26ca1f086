package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"example.com/orders/sql/dberror"
)

// requestTimeout bounds the work on a request. It is also how long a client waits if another open request uses its
// idempotency key.
const requestTimeout = 10 * time.Second

// JSON answers v with a status.
func JSON(w http.ResponseWriter, status int, v any) error {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false) // keep an & in links
	if err := encoder.Encode(v); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // it fails only if the client is gone
	return nil
}

// Handler answers requests with what handle writes, or with the problem for its error: a *Problem as it is; 503 with
// Retry-After if a retry may succeed; 400 for a value that the database refuses for what it is; 500 for any other. It logs
// all but the first.
func Handler(log func() *slog.Logger, handle func(w http.ResponseWriter, r *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		err := handle(w, r.WithContext(ctx))
		if err == nil {
			return
		}
		problem, ok := errors.AsType[*Problem](err)
		if !ok {
			problem = classify(err)
			log().LogAttrs(ctx, slog.LevelError, "request failed",
				slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", problem.Status),
				slog.String("correlation_id", w.Header().Get(CorrelationHeader)), slog.Any("error", err))
		}
		problem.write(w)
	}
}

func classify(err error) *Problem {
	if dberror.IsTransient(err) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return Unavailable("the request was not carried out, or its outcome is not known: send it again with the same " + KeyHeader)
	}
	if dberror.IsBadValue(err) {
		return NewProblem(http.StatusBadRequest, "the request has a value that cannot be stored: too long, out of range or with invalid characters")
	}
	return NewProblem(http.StatusInternalServerError, "something broke on the server; its log has the reason under the correlation id")
}

// Mux takes the patterns of http.ServeMux.
type Mux interface {
	Handle(pattern string, handler http.Handler)
	HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request))
}

// NotFound answers an unknown path.
func NotFound(http.ResponseWriter, *http.Request) error {
	return NewProblem(http.StatusNotFound, "there is nothing at this path")
}

// NotAllowed answers a method that a path does not support; allow lists the supported ones.
func NotAllowed(allow string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Allow", allow)
		return NewProblem(http.StatusMethodNotAllowed, "this path takes "+allow)
	}
}
