package rest

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"example.com/orders/events"
	"example.com/orders/functions/internal/observe/tracing"
)

// MaxBody is the size of the largest body that an API reads, in bytes.
const MaxBody = 1 << 20

// bodyTimeout bounds the arrival of a body.
const bodyTimeout = 10 * time.Second

// Body reads the body of a request, which must have the media type application/json. Its error is a *Problem: 415 for
// another media type, and those of ReadBody.
func Body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if !IsJSON(r.Header.Get("Content-Type")) {
		return nil, NewProblem(http.StatusUnsupportedMediaType, "send the body as Content-Type: application/json")
	}
	return ReadBody(w, r, MaxBody)
}

// ReadBody reads a body of at most most bytes. Its error is a *Problem: 415 for a compressed body, 413 for a larger one, 408
// for one that does not arrive in time, 400 for one that breaks off.
func ReadBody(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	for coding := range strings.SplitSeq(strings.Join(r.Header.Values("Content-Encoding"), ","), ",") {
		if coding = strings.TrimSpace(coding); coding != "" && !strings.EqualFold(coding, "identity") {
			return nil, NewProblem(http.StatusUnsupportedMediaType, "send the body as it is, without a Content-Encoding")
		}
	}
	if r.ContentLength > most {
		return nil, tooLarge(most)
	}
	// A writer without a connection, as in a test, supports no deadline.
	connection := http.NewResponseController(w)
	_ = connection.SetReadDeadline(time.Now().Add(bodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	_, large := errors.AsType[*http.MaxBytesError](err)
	switch {
	case large:
		return nil, tooLarge(most)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, NewProblem(http.StatusRequestTimeout, fmt.Sprintf("the body did not arrive within %s", bodyTimeout))
	case err != nil: // its text may contain addresses
		return nil, NewProblem(http.StatusBadRequest, "the body could not be read: it broke off, or its transfer encoding is broken")
	}
	// From now on, and without a body from the start, the server reads on to notice when the client disconnects, which ends
	// the request's context. A silent client must not look like that.
	_ = connection.SetReadDeadline(time.Time{})
	return body, nil
}

func tooLarge(most int64) *Problem {
	return NewProblem(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", most))
}

// IsJSON returns whether a content type is application/json, with charset UTF-8 if any.
func IsJSON(contentType string) bool { return IsMedia(contentType, "application/json") }

// IsMedia returns whether a content type is a media type, with charset UTF-8 if any.
func IsMedia(contentType, want string) bool {
	media, parameters, err := mime.ParseMediaType(contentType)
	charset, named := parameters["charset"]
	return err == nil && media == want && (!named || strings.EqualFold(charset, "utf-8"))
}

// CorrelationHeader is the header with which a client names the flow of its request.
const CorrelationHeader = "X-Correlation-ID"

// Correlation returns the correlation id of the request and sets it in the answer's headers. It makes a new one if the
// request has none, or one that is not 1 to 128 of A-Z, a-z, 0-9, '.', '_', ':' and '-'; the answer says if a client's id
// was replaced. given is whether the client's own id is used.
func Correlation(w http.ResponseWriter, r *http.Request, newID func() string) (id string, given bool) {
	sent := r.Header.Get(CorrelationHeader)
	id, given = sent, events.ValidCorrelationID(sent)
	if !given {
		id = newID()
		if sent != "" {
			w.Header().Set(CorrelationHeader+"-Replaced", "true")
		}
	}
	w.Header().Set(CorrelationHeader, id)
	return id, given
}

// Cause returns the cause of a request's events: its flow and its trace. No event caused them.
func Cause(r *http.Request, correlationID string) events.Cause {
	return tracing.Cause(r.Context(), events.Cause{
		CorrelationID: correlationID,
		Traceparent:   r.Header.Get("Traceparent"),
		Tracestate:    r.Header.Get("Tracestate"),
	})
}

// KeyHeader is the header of the IETF draft "The Idempotency-Key HTTP Header Field"
// (draft-ietf-httpapi-idempotency-key-header).
const KeyHeader = "Idempotency-Key"

// ReplayedHeader marks the repetition of an earlier answer.
const ReplayedHeader = "Idempotency-Replayed"

// maxKey is the length of the longest idempotency key, in characters.
const maxKey = 255

// IdempotencyKey returns the request's idempotency key, empty without one. The quoted string of the draft (RFC 8941) and the
// bare text are the same key. Its error is a *Problem with status 400.
func IdempotencyKey(r *http.Request) (string, error) {
	switch values := r.Header.Values(KeyHeader); len(values) {
	case 0:
		return "", nil
	case 1:
		return ParseIdempotencyKey(values[0])
	default:
		return "", NewProblem(http.StatusBadRequest, "send one "+KeyHeader)
	}
}

// ParseIdempotencyKey reads a key in either form. Its error is a *Problem with status 400.
func ParseIdempotencyKey(text string) (string, error) {
	key, ok := parseKey(text)
	if !ok {
		return "", NewProblem(http.StatusBadRequest, fmt.Sprintf(
			"%s: send 1 to %d printable ASCII characters, bare (without spaces and quotes) or as a quoted string", KeyHeader, maxKey))
	}
	return key, nil
}

// parseKey reads a key in either form.
func parseKey(text string) (string, bool) {
	text = strings.Trim(text, " \t")
	quoted := strings.HasPrefix(text, `"`)
	if quoted {
		if len(text) < 2 || !strings.HasSuffix(text, `"`) {
			return "", false
		}
		text = text[1 : len(text)-1]
	}
	var key strings.Builder
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c < ' ' || c > '~':
			return "", false
		case quoted && c == '\\':
			i++
			if i == len(text) || (text[i] != '"' && text[i] != '\\') {
				return "", false
			}
			c = text[i]
		case c == '"' || (!quoted && c == ' '):
			return "", false
		}
		key.WriteByte(c)
	}
	return key.String(), key.Len() >= 1 && key.Len() <= maxKey
}

// Anonymous is the principal of a request without an owner: nobody logs in, or the harness itself makes it.
const Anonymous = "anonymous"

// KeyHash returns the hash of an idempotency key, as it is stored. The same key with another method, path or principal is
// another key.
func KeyHash(method, path, principal, key string) []byte {
	h := sha256.New()
	for _, part := range []string{method, path, principal, key} {
		// The length first, so that different lists of parts never concatenate to the same bytes.
		_, _ = h.Write(binary.AppendUvarint(nil, uint64(len(part)))) // a hash never fails
		_, _ = io.WriteString(h, part)
	}
	return h.Sum(nil)
}
