package functiontest

import (
	"context"
	"errors"
	"slices"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/functions/internal/delivery"
)

// Batcher is a function that handles several events of one type at once.
type Batcher interface {
	Handle(ctx context.Context, e event.Event) error
	HandleBatch(ctx context.Context, es []event.Event) []error
}

// Together hands events to f as one group, as a host does: those of each type at once, and then one by one those that f
// left. It returns the answers in the order of the events, and how many were left.
func Together(ctx context.Context, f Batcher, es []event.Event) (answers []error, alone int) {
	answers = make([]error, len(es))
	var types []string
	for _, first := range es {
		if slices.Contains(types, first.Type()) {
			continue
		}
		types = append(types, first.Type())
		var places []int
		var same []event.Event
		for i, e := range es {
			if e.Type() == first.Type() {
				places, same = append(places, i), append(same, e)
			}
		}
		for n, err := range f.HandleBatch(ctx, same) {
			if errors.Is(err, delivery.ErrAlone) {
				alone++
				err = f.Handle(ctx, same[n])
			}
			answers[places[n]] = err
		}
	}
	return answers, alone
}

// Statuses returns the status of each answer.
func Statuses(answers []error) []int {
	all := make([]int, len(answers))
	for i, err := range answers {
		all[i] = delivery.Status(err)
	}
	return all
}
