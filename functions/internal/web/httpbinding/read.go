// Package httpbinding reads and writes CloudEvents over HTTP, by the HTTP protocol binding and the JSON format of
// CloudEvents. It reads binary and structured mode, with the same result, and writes binary mode.
//
// The SDK's reader takes a body of any size, does not decode header values, and panics over some requests, in its own
// goroutines; the SDK's writer does not encode header values.
package httpbinding

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/binding/spec"
	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/functions/internal/web/rest"
)

// Read reads the event of a POST with a body of at most most bytes. Its error is a *rest.Problem: 400 for an invalid event,
// 415 for a request in neither mode, and those of rest.ReadBody. An event without a trace joins the trace of its request.
func Read(w http.ResponseWriter, r *http.Request, most int64) (event.Event, error) {
	if r.Method != http.MethodPost {
		return event.Event{}, rest.NotAllowed(http.MethodPost)(w, r)
	}
	headers, err := fromHeaders(r.Header)
	if err != nil {
		return event.Event{}, rest.Invalid(err)
	}
	read := func(body []byte) (content, error) { return content{headers, body, false}, nil }
	switch contentType := r.Header.Get("Content-Type"); {
	case rest.IsMedia(contentType, event.ApplicationCloudEventsJSON):
		read = fromJSON
	case isMode(contentType, "application/cloudevents-batch"):
		return event.Event{}, rest.NewProblem(http.StatusUnsupportedMediaType, "send one CloudEvent per request: batches are not supported")
	case isMode(contentType, "application/cloudevents"), versionOf(headers) == nil:
		return event.Event{}, rest.NewProblem(http.StatusUnsupportedMediaType,
			"send a CloudEvent: with ce-id, ce-source, ce-type and ce-specversion headers (binary mode), or as Content-Type: "+event.ApplicationCloudEventsJSON)
	}
	body, err := rest.ReadBody(w, r, most)
	if err != nil {
		return event.Event{}, err
	}
	c, err := read(body)
	if err != nil {
		return event.Event{}, rest.Invalid(err)
	}
	c.belongTo(r)
	e, err := c.event()
	if err != nil {
		return event.Event{}, rest.Invalid(err)
	}
	return e, nil
}

// isMode returns whether a content type belongs to a mode of HTTP events, in whatever format. Its parameters may be broken.
func isMode(contentType, mode string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	media, _, _ = strings.Cut(media, "+")
	return strings.EqualFold(strings.TrimSpace(media), mode)
}

// content is an event as parsed from either mode.
type content struct {
	attributes map[string]any // strings; in JSON extensions also bool and int32
	data       []byte
	base64     bool // the data was base64
}

// belongTo adds the trace of the request to an event without one.
func (c content) belongTo(r *http.Request) {
	cause := rest.Cause(r, "")
	if _, traced := c.attributes["traceparent"]; traced || cause.Traceparent == "" || checkText(cause.Traceparent+cause.Tracestate) != nil {
		return
	}
	c.attributes["traceparent"] = cause.Traceparent
	if cause.Tracestate != "" {
		c.attributes["tracestate"] = cause.Tracestate
	}
}

// versionOf returns nil for a CloudEvents version that the SDK does not know.
func versionOf(attributes map[string]any) spec.Version {
	name, _ := attributes["specversion"].(string)
	return spec.VS.Version(name)
}

// event returns a valid CloudEvent.
func (c content) event() (event.Event, error) {
	version := versionOf(c.attributes)
	if version == nil {
		return event.Event{}, errors.New("specversion must be 1.0")
	}
	e := event.New(version.String())
	for _, name := range slices.Sorted(maps.Keys(c.attributes)) {
		value := c.attributes[name]
		text, isText := value.(string)
		err := checkText(text)
		switch attribute := version.Attribute(name); {
		case err != nil:
		case attribute == nil:
			err = e.Context.SetExtension(name, value)
		case !isText:
			err = errors.New("must be a string")
		default:
			err = attribute.Set(e.Context, text)
		}
		if err != nil {
			return event.Event{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := e.Validate(); err != nil {
		return event.Event{}, errors.New(strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; "))
	}
	if len(c.data) > 0 {
		e.DataEncoded, e.DataBase64 = c.data, c.base64
	}
	return e, nil
}

// validName returns whether an attribute may have a name: lower-case letters and digits, but not "data".
func validName(name string) bool {
	return name != "" && name != "data" && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
}

// checkText refuses text that CloudEvents allows in no attribute.
func checkText(s string) error {
	if !utf8.ValidString(s) {
		return errors.New("is not UTF-8")
	}
	for _, r := range s {
		if unicode.IsControl(r) || (r >= 0xFDD0 && r <= 0xFDEF) || r&0xFFFE == 0xFFFE {
			return fmt.Errorf("holds %U: control characters and noncharacters are not allowed", r)
		}
	}
	return nil
}
