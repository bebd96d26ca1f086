// Package host runs functions in one process as Knative runs each in its own. Functions go in; their HTTP handlers and
// their deliveries come out.
package host

import (
	"context"
	"fmt"
	"net/http"

	"github.com/cloudevents/sdk-go/v2/event"
	httpfunc "knative.dev/func-go/http"
)

// Handler serves a function by the handler of func's runtime, so that it answers as when it is deployed. It fails for
// a value without a Handle that the runtime knows.
func Handler(f any) (http.Handler, error) {
	served, err := New(f)
	if err != nil {
		return nil, err
	}
	return httpfunc.New(served).Handler, nil
}

type consumer interface {
	Handle(context.Context, event.Event) error
}

type responder interface {
	Handle(context.Context, event.Event) (*event.Event, error)
}

// handle is the Handle of a function that takes CloudEvents, whether it replies or not.
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

// Deliver returns what hands an event to a function in-process. As with a KafkaSource a reply is dropped. It fails for
// a function that takes no CloudEvents.
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
