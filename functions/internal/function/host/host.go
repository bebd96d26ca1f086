// Package host runs functions in one process as Knative runs each in its own: it serves them over HTTP and delivers events
// to them.
package host

import (
	"context"
	"fmt"
	"net/http"

	"github.com/cloudevents/sdk-go/v2/event"
	httpfunc "knative.dev/func-go/http"

	"example.com/orders/functions/internal/web/identity"
)

// Handler serves a function with the handler of func's runtime, so that it answers as in a deployment. It fails if f has no
// Handle that the runtime knows. Everybody may send events to it.
func Handler(f any) (http.Handler, error) { return HandlerFor(f, &identity.Sources{}) }

// HandlerFor is Handler for a function whose events come from sources.
func HandlerFor(f any, sources *identity.Sources) (http.Handler, error) {
	served, err := New(f)
	if err != nil {
		return nil, err
	}
	served.sources.Store(sources)
	return httpfunc.New(served).Handler, nil
}

type consumer interface {
	Handle(context.Context, event.Event) error
}

type responder interface {
	Handle(context.Context, event.Event) (*event.Event, error)
}

// ForSources returns whether f is for events of sources. A function that replies to events is not: customers call it.
func ForSources(f any) bool {
	_, ok := f.(consumer)
	return ok
}

// handle is the Handle of a function that takes CloudEvents, with or without a reply.
type handle func(context.Context, event.Event) (*event.Event, error)

func handler(f any) (handle, bool) {
	switch f := f.(type) {
	case consumer:
		return func(ctx context.Context, e event.Event) (*event.Event, error) { return nil, f.Handle(ctx, e) }, true
	case responder:
		return f.Handle, true
	default:
		return nil, false
	}
}

// Deliver returns a func that hands an event to a function in-process. Like a KafkaSource it drops the reply. It fails if
// the function takes no CloudEvents.
func Deliver(f any) (func(context.Context, event.Event) error, error) {
	handle, ok := handler(f)
	if !ok {
		return nil, fmt.Errorf("%T takes no CloudEvents", f)
	}
	return func(ctx context.Context, e event.Event) error {
		_, err := handle(ctx, e)
		return err
	}, nil
}
