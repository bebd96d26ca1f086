// Package host runs functions in one process as Knative runs each in its own. Functions go in; their HTTP handlers and
// their deliveries come out.
package host

import (
	"context"
	"fmt"
	"net/http"

	"github.com/cloudevents/sdk-go/v2/event"
	cefunc "knative.dev/func-go/cloudevents"
	httpfunc "knative.dev/func-go/http"
)

// Handler serves a function by the handler of func's runtime, so that it answers as when it is deployed. It fails for
// a value without a Handle that the runtime knows.
func Handler(f any) (http.Handler, error) {
	switch f := f.(type) {
	case httpfunc.Handler:
		return httpfunc.New(f).Handler, nil
	case consumer, responder:
		return cefunc.New(f).Handler, nil
	default:
		return nil, fmt.Errorf("%T has no Handle for HTTP requests or CloudEvents", f)
	}
}

type consumer interface {
	Handle(context.Context, event.Event) error
}

type responder interface {
	Handle(context.Context, event.Event) (*event.Event, error)
}

// Deliver returns what hands an event to a function in-process. As with a KafkaSource a reply is dropped. It fails for
// a function that takes no CloudEvents.
func Deliver(f any) (func(context.Context, event.Event) error, error) {
	switch f := f.(type) {
	case consumer:
		return f.Handle, nil
	case responder:
		return func(ctx context.Context, e event.Event) error {
			_, err := f.Handle(ctx, e)
			return err
		}, nil
	default:
		return nil, fmt.Errorf("%T takes no CloudEvents", f)
	}
}
