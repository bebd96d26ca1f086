// Package host runs functions in one process as Knative runs each in its own. Functions go in; their HTTP handlers and
// their deliveries come out.
package host

import (
	"context"
	"fmt"
	"net/http"

	"github.com/cloudevents/sdk-go/v2/event"
	httpfunc "knative.dev/func-go/http"

	"example.com/orders/functions/internal/delivery"
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

// batcher is a function that handles several events of one type at once. It answers to each, in their order, with
// delivery.ErrAlone to those that it has not handled.
type batcher interface {
	consumer
	HandleBatch(context.Context, []event.Event) []error
}

// GroupSize is how many events a function that can handles at once, at most.
const GroupSize = 64

// DeliverAll returns what hands up to GroupSize events to a function in one call, nil for a function that handles events
// one by one only. Each event gets its answer, in their order, and delivery.ErrAlone when it was not handled.
func DeliverAll(f any) func(context.Context, []event.Event) []error {
	b, ok := f.(batcher)
	if !ok {
		return nil
	}
	if set, ok := f.(interface{ OneByOne() bool }); ok && set.OneByOne() {
		return nil
	}
	return func(ctx context.Context, es []event.Event) []error {
		all := make([]error, len(es))
		for _, places := range byType(es) {
			same := make([]event.Event, len(places))
			for n, place := range places {
				same[n] = es[place]
			}
			answers := b.HandleBatch(ctx, same)
			for n, place := range places {
				if len(answers) == len(same) {
					all[place] = answers[n]
				} else {
					all[place] = fmt.Errorf("%w: %d answers to %d events", delivery.ErrAlone, len(answers), len(same))
				}
			}
		}
		return all
	}
}

// byType returns the indices of the events of each type, type by type as they come first.
func byType(es []event.Event) (places [][]int) {
	types := map[string]int{}
	for i, e := range es {
		n, known := types[e.Type()]
		if !known {
			n = len(places)
			types[e.Type()] = n
			places = append(places, nil)
		}
		places[n] = append(places[n], i)
	}
	return places
}
