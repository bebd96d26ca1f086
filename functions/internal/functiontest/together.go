package functiontest

import (
	"context"
	"sync"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/functions/internal/delivery"
)

// Together hands events to f at the same time, and returns the answers in the order of the events. Those of one type are one
// batch when f has nothing else to do.
func Together(ctx context.Context, f Function, es ...event.Event) []error {
	answers := make([]error, len(es))
	var all sync.WaitGroup
	all.Add(len(es))
	f.Shared().Submit(ctx, func(n int, err error) {
		answers[n] = err
		all.Done()
	}, es...)
	all.Wait()
	return answers
}

// Statuses returns the status of each answer.
func Statuses(answers []error) []int {
	all := make([]int, len(answers))
	for i, err := range answers {
		all[i] = delivery.Status(err)
	}
	return all
}
