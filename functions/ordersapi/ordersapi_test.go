package ordersapi

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/openapitest"
)

const (
	body      = `{"customerEmail":"alice@example.com","items":[{"sku":"SKU-123","quantity":2,"unitPrice":1299}]}`
	otherBody = `{"customerEmail":"alice@example.com","items":[{"sku":"SKU-123","quantity":3,"unitPrice":1299}]}`
)

func start(t testing.TB) *Function {
	t.Helper()
	return functiontest.Start(t, New(), nil)
}

// send sends a request with headers, given as names and values, and a JSON body unless it is empty. It checks that the
// answer conforms to the OpenAPI description.
func send(ctx context.Context, f *Function, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(ctx, method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	f.Handle(w, r)
	if err := openapitest.Check(method, r.URL, w.Code, w.Header(), w.Body.Bytes()); err != nil {
		panic(err) // from whatever goroutine
	}
	return w
}

// place places an order and returns its id.
func place(t testing.TB, f *Function) string {
	t.Helper()
	return accepted(t, send(t.Context(), f, http.MethodPost, "/api/orders", body)).OrderID
}

// accepted is the body of a 201.
func accepted(t testing.TB, w *httptest.ResponseRecorder) (answer events.OrderAnswer) {
	t.Helper()
	require.Equal(t, http.StatusCreated, w.Code, w.Body.String())
	assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer))
	assert.Equal(t, events.StatusPending, answer.Status)
	assert.Equal(t, "/api/orders/"+answer.OrderID, w.Header().Get("Location"))
	return answer
}

type problem struct {
	Type, Title, Detail string
	Status              int
	Errors              []struct{ Field, Detail string }
}

// refused returns the problem in an answer, which must have the status.
func refused(t testing.TB, status int, w *httptest.ResponseRecorder) (p problem) {
	t.Helper()
	require.Equal(t, status, w.Code, w.Body.String())
	assert.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &p))
	assert.Equal(t, "about:blank", p.Type)
	assert.Equal(t, http.StatusText(status), p.Title)
	assert.Equal(t, status, p.Status)
	assert.NotEmpty(t, p.Detail)
	return p
}

func TestPathsAnswerTheMethodsThatTheyHave(t *testing.T) {
	f := start(t)
	id := functiontest.OrderID()
	for path, c := range map[string]struct {
		refused []string
		allow   string
	}{
		"/api/orders":                   {[]string{"PUT", "PATCH", "DELETE", "OPTIONS"}, "GET, POST"},
		"/api/orders/" + id:             {[]string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS"}, "GET"},
		"/api/orders/" + id + "/cancel": {[]string{"GET", "PUT", "PATCH", "DELETE", "OPTIONS"}, "POST"},
	} {
		for _, method := range c.refused {
			w := send(t.Context(), f, method, path, "")
			refused(t, http.StatusMethodNotAllowed, w)
			assert.Equal(t, c.allow, w.Header().Get("Allow"), "%s %s", method, path)
		}
	}
	for _, path := range []string{"/", "/api", "/api/orders/", "/api/orders/" + id + "/", "/api/orders/" + id + "/confirm"} {
		refused(t, http.StatusNotFound, send(t.Context(), f, http.MethodGet, path, ""))
	}
}

func TestEveryAnswerNamesItsFlow(t *testing.T) {
	f := start(t)
	for name, c := range map[string]struct{ method, path, body string }{
		"created":  {http.MethodPost, "/api/orders", body},
		"refused":  {http.MethodPost, "/api/orders", "{}"},
		"list":     {http.MethodGet, "/api/orders", ""},
		"unknown":  {http.MethodGet, "/api/orders/" + functiontest.OrderID(), ""},
		"no path":  {http.MethodGet, "/", ""},
		"method":   {http.MethodDelete, "/api/orders", ""},
		"canceled": {http.MethodPost, "/api/orders/" + place(t, f) + "/cancel", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := send(t.Context(), f, c.method, c.path, c.body, "X-Correlation-ID", "flow-1")
			assert.Equal(t, "flow-1", w.Header().Get("X-Correlation-ID"))
			assert.Empty(t, w.Header().Get("X-Correlation-ID-Replaced"))
			w = send(t.Context(), f, c.method, c.path, c.body, "X-Correlation-ID", "a flow")
			assert.True(t, events.ValidCorrelationID(w.Header().Get("X-Correlation-ID")))
			assert.Equal(t, "true", w.Header().Get("X-Correlation-ID-Replaced"))
			w = send(t.Context(), f, c.method, c.path, c.body)
			assert.True(t, events.ValidCorrelationID(w.Header().Get("X-Correlation-ID")))
			assert.Empty(t, w.Header().Get("X-Correlation-ID-Replaced"))
		})
	}
}

func TestErrorsAreLoggedWithTheirFlow(t *testing.T) {
	f := New()
	var log bytes.Buffer
	f.Log = slog.New(slog.NewJSONHandler(&log, nil))
	functiontest.Start(t, f, nil)
	_, err := f.DB.ExecContext(t.Context(), "DROP TABLE order_items")
	require.NoError(t, err)

	w := send(t.Context(), f, http.MethodPost, "/api/orders", body, "X-Correlation-ID", "flow-1")

	p := refused(t, http.StatusInternalServerError, w)
	assert.NotContains(t, p.Detail, "order_items")
	var line map[string]any
	require.NoError(t, json.Unmarshal(log.Bytes(), &line))
	assert.Equal(t, "flow-1", line["correlation_id"])
	assert.Contains(t, line["error"], "order_items")
}

func TestEverythingIs503UntilTheFunctionHasStarted(t *testing.T) {
	f := New()
	for _, w := range []*httptest.ResponseRecorder{
		send(t.Context(), f, http.MethodPost, "/api/orders", body),
		send(t.Context(), f, http.MethodGet, "/api/orders", ""),
		send(t.Context(), f, http.MethodPost, "/api/orders/"+functiontest.OrderID()+"/cancel", ""),
	} {
		refused(t, http.StatusServiceUnavailable, w)
		assert.Equal(t, "1", w.Header().Get("Retry-After"))
	}
	ready, err := f.Ready(t.Context())
	assert.NoError(t, err)
	assert.False(t, ready)
	assert.NoError(t, f.Stop(t.Context()), "it may be stopped before it has started")
}

func TestWithoutItsDatabaseTheFunctionIsUnavailableAndNotReady(t *testing.T) {
	f := New()
	require.NoError(t, f.Start(t.Context(), map[string]string{"MYSQL_DSN": "root@tcp(127.0.0.1:1)/"}))
	ready, err := f.Ready(t.Context())
	assert.False(t, ready)
	assert.Error(t, err)
	for _, w := range []*httptest.ResponseRecorder{
		send(t.Context(), f, http.MethodPost, "/api/orders", body, "Idempotency-Key", "k"),
		send(t.Context(), f, http.MethodGet, "/api/orders", ""),
		send(t.Context(), f, http.MethodPost, "/api/orders/"+functiontest.OrderID()+"/cancel", ""),
	} {
		refused(t, http.StatusServiceUnavailable, w)
		assert.Equal(t, "1", w.Header().Get("Retry-After"))
	}
	assert.NoError(t, f.Stop(t.Context()))
}
