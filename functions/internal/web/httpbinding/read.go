// Package httpbinding carries CloudEvents over HTTP, by the HTTP protocol binding and the JSON format of CloudEvents. A
// request goes in and an event comes out, the same one in binary and in structured mode; events go out in binary mode.
//
// The SDK's own reader takes a body of any size, does not decode header values, panics over some requests, in goroutines
// of its own, and its writer does not encode header values.
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

// Read reads the event of a POST whose body has at most so many bytes. The error is a *rest.Problem: 400 for a bad event,
// 415 for what is no event in binary or structured mode, and those of rest.ReadBody. An event without a trace of its own
// belongs to that of its request.
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
		return event.Event{}, rest.NewProblem(http.StatusUnsupportedMediaType, "send one CloudEvent a request: batches are not taken")
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

// isMode tells whether a content type is that of a mode of HTTP events, in whatever format. Its parameters may be broken.
func isMode(contentType, mode string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	media, _, _ = strings.Cut(media, "+")
	return strings.EqualFold(strings.TrimSpace(media), mode)
}

// content is an event as either mode has it.
type content struct {
	attributes map[string]any // strings, and of extensions in JSON also bool and int32
	data       []byte
	base64     bool // the data came as base64
}

// belongTo gives an event without a trace that of its request.
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

// versionOf is nil for a version of CloudEvents that the SDK does not know.
func versionOf(attributes map[string]any) spec.Version {
	name, _ := attributes["specversion"].(string)
	return spec.VS.Version(name)
}

// event makes the event, of which all that CloudEvents asks for holds.
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

// validName tells whether an attribute may have a name: lower-case letters and digits. What is data is no attribute.
func validName(name string) bool {
	return name != "" && name != "data" && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
}

// checkText refuses what no attribute of a CloudEvent may hold.
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
