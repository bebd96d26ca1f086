// Package delivery maps the error of a function to the HTTP status on which a KafkaSource acts: the event is handled,
// retried, or poison, which can never succeed.
package delivery

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/cloudevents/sdk-go/v2/protocol"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
)

type poison struct{ error }

func (p poison) Unwrap() error { return p.error }

// Poison declares that err will be the same at every delivery, so that the event becomes a dead letter at once. Every other
// error is retried.
func Poison(err error) error { return poison{err} }

// IsPoison returns whether err, or an error that it wraps, was declared poison.
func IsPoison(err error) bool {
	_, ok := errors.AsType[poison](err)
	return ok
}

// Result turns a function's error into its answer: nil stays nil (2xx), poison becomes 422 Unprocessable Content, everything
// else 503 Service Unavailable.
//
// 422, not 400, 404 or 409: Knative retries 404, 408, 409, 429 and every 5xx, and sends every other 4xx to the dead-letter
// sink at once. 503, not 500: a PingSource retries only 503.
func Result(err error) error {
	switch {
	case err == nil:
		return nil
	case IsPoison(err):
		return cehttp.NewResult(http.StatusUnprocessableEntity, "%w", err)
	default:
		return cehttp.NewResult(http.StatusServiceUnavailable, "%w", err)
	}
}

// Status returns the HTTP status of a function's answer: 200 for nil, the status of a Result, and 500 for any other error.
func Status(err error) int {
	if err == nil {
		return http.StatusOK
	}
	var result *cehttp.Result
	if protocol.ResultAs(err, &result) {
		return result.StatusCode
	}
	if protocol.IsACK(err) {
		return http.StatusOK
	}
	return http.StatusInternalServerError
}

// Reason returns the text of an error answer, without its status.
func Reason(err error) string {
	var result *cehttp.Result
	if protocol.ResultAs(err, &result) {
		return fmt.Errorf(result.Format, result.Args...).Error()
	}
	return err.Error()
}

// Verdict is the action of a KafkaSource after an attempt.
type Verdict int

// The verdicts.
const (
	Acknowledge Verdict = iota
	Retry
	DeadLetter
)

// Judge returns the action of a KafkaSource after an answer with this status. The rule is Knative's: 2xx acknowledges; 404,
// 408, 409, 429 and 5xx are retried; every other status goes to the dead-letter sink at once.
func Judge(status int) Verdict {
	switch {
	case status >= 200 && status < 300:
		return Acknowledge
	case status == http.StatusNotFound, status == http.StatusRequestTimeout, status == http.StatusConflict,
		status == http.StatusTooManyRequests, status >= 500:
		return Retry
	default:
		return DeadLetter
	}
}
