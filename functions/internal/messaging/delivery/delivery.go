// Package delivery says what becomes of an event after a function has seen it: handled, to be delivered again, or
// poison that never will succeed. What goes in is a function's error; what comes out is the status on which a
// KafkaSource acts.
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

// Poison declares that err will be the same at every delivery, so that the event goes to the dead letters at once.
// Everything that is not declared poison is delivered again.
func Poison(err error) error { return poison{err} }

// IsPoison tells whether err, or an error that it wraps, was declared poison.
func IsPoison(err error) bool {
	_, ok := errors.AsType[poison](err)
	return ok
}

// Result turns a function's error into its answer: nil stays nil (2xx), poison is 422 Unprocessable Content, all else
// is 503 Service Unavailable.
//
// It is 422 and not 400, 404 or 409 since Knative retries 404, 408, 409, 429 and every 5xx, and sends every other 4xx
// to the dead-letter sink at once. It is 503 and not 500 since a PingSource retries 503 only.
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

// Status is the HTTP status that the answer of a function comes to: 200 for nil, the status of a Result, and 500 for
// any other error.
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

// Reason is the text of an answer that is an error, without its status.
func Reason(err error) string {
	var result *cehttp.Result
	if protocol.ResultAs(err, &result) {
		return fmt.Errorf(result.Format, result.Args...).Error()
	}
	return err.Error()
}

// Verdict is what a KafkaSource does after an attempt.
type Verdict int

// The verdicts.
const (
	Acknowledge Verdict = iota
	Retry
	DeadLetter
)

// Judge returns what a KafkaSource does after an answer with this status. The rule is Knative's: 2xx acknowledges;
// 404, 408, 409, 429 and 5xx are tried again; every other status goes to the dead-letter sink at once.
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
