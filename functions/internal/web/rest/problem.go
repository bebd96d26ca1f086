// Package rest is the common part of the HTTP functions: bounded bodies, correlation ids, idempotency keys, JSON answers and
// problem details.
package rest

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"example.com/orders/events/strictjson"
)

// Problem is a problem details object of RFC 9457. Its type is about:blank, and its title is that of the status.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Detail says what is wrong with this request, and what to do.
	Detail string `json:"detail,omitempty"`
	// Errors names every refused field of the body.
	Errors strictjson.Violations `json:"errors,omitempty"`

	retryAfter time.Duration
	challenge  string // the WWW-Authenticate of a 401
}

// NewProblem returns a problem with a status, and a detail that says what to do.
func NewProblem(status int, detail string) *Problem {
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail}
}

// Unavailable returns the 503 of a request that may succeed if it is sent again after a second.
func Unavailable(detail string) *Problem { return UnavailableFor(detail, time.Second) }

// UnavailableFor is Unavailable with the time after which to send the request again.
func UnavailableFor(detail string, after time.Duration) *Problem {
	p := NewProblem(http.StatusServiceUnavailable, detail)
	p.retryAfter = after
	return p
}

// TooMany returns the 429 of a client that asked for more than it may have, and that may ask again after a while (RFC 6585,
// section 4).
func TooMany(detail string, after time.Duration) *Problem {
	p := NewProblem(http.StatusTooManyRequests, detail)
	p.retryAfter = after
	return p
}

// Unauthorized returns the 401 of a request without valid credentials; challenge is its WWW-Authenticate (RFC 9110, 11.6.1).
func Unauthorized(challenge, detail string) *Problem {
	p := NewProblem(http.StatusUnauthorized, detail)
	p.challenge = challenge
	return p
}

// Invalid returns the 400 of a request with invalid content; err names the fields if it is a strictjson.Violations.
func Invalid(err error) *Problem {
	p := NewProblem(http.StatusBadRequest, "")
	if violations, ok := errors.AsType[strictjson.Violations](err); ok {
		p.Detail = "the fields named under errors were refused"
		p.Errors = violations
	} else {
		p.Detail = err.Error()
	}
	return p
}

// Unprocessable returns the 422 of a request whose fields are well-formed, and name what may not be.
func Unprocessable(violations strictjson.Violations) *Problem {
	p := NewProblem(http.StatusUnprocessableEntity, "the fields named under errors were refused")
	p.Errors = violations
	return p
}

// Error makes a problem an error, so that a function can return it without writing it.
func (p *Problem) Error() string { return p.Title + ": " + p.Detail }

// write writes the problem.
func (p *Problem) write(w http.ResponseWriter) {
	header := w.Header()
	header.Set("Content-Type", "application/problem+json")
	header.Set("Cache-Control", "no-store")
	if p.retryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(int(math.Ceil(p.retryAfter.Seconds()))))
	}
	if p.challenge != "" {
		header.Set("WWW-Authenticate", p.challenge)
	}
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // it fails only if the client is gone
}
