package httpbinding

import (
	"bytes"
	"context"
	"fmt"
	"net/http"

	"github.com/cloudevents/sdk-go/v2/binding/spec"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
)

// NewRequest returns a POST of an event in binary mode. It fails for an invalid CloudEvent.
func NewRequest(ctx context.Context, url string, e event.Event) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(e.Data()))
	if err != nil {
		return nil, err
	}
	return r, intoHeaders(r.Header, e)
}

// WriteResponse answers with an event in binary mode. It fails for an invalid CloudEvent, and then writes nothing.
func WriteResponse(w http.ResponseWriter, status int, e event.Event) error {
	if err := intoHeaders(w.Header(), e); err != nil {
		return err
	}
	w.WriteHeader(status)
	_, _ = w.Write(e.Data()) // it fails only if the client is gone
	return nil
}

// intoHeaders adds the attributes of an event as the headers of binary mode.
func intoHeaders(header http.Header, e event.Event) error {
	if err := e.Validate(); err != nil {
		return err
	}
	for _, attribute := range spec.VS.Version(e.SpecVersion()).Attributes() {
		value := attribute.Get(e.Context)
		if value == nil {
			continue
		}
		text, err := types.Format(value)
		if err != nil {
			return fmt.Errorf("%s: %w", attribute.Name(), err)
		}
		if attribute.Kind() == spec.DataContentType {
			header.Set("Content-Type", text)
		} else {
			header.Set(headerOf(attribute.Name()), encode(text))
		}
	}
	for name, value := range e.Extensions() {
		text, err := types.Format(value)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		header.Set(headerOf(name), encode(text))
	}
	return nil
}
