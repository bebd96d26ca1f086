package functiontest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/functions/internal/function/batch"
	"example.com/orders/functions/internal/messaging/delivery"
)

// Together hands events to f at the same time, and returns the answers in the order of the events. Events of one type form
// one batch if f is idle.
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

// Batched returns the Submit of a function that handles up to size events at once, and answers each, within a day.
func Batched(size int, handle func(context.Context, []event.Event) []error) func(context.Context, func(int, error), ...event.Event) {
	const day = 24 * time.Hour
	collector := batch.New(batch.Options{Size: size, Parallel: 1, Timeout: day, AloneTimeout: day},
		func(ctx context.Context, es []event.Event, _ bool) ([]error, error) { return handle(ctx, es), nil })
	return func(ctx context.Context, done func(int, error), es ...event.Event) {
		for n, e := range es {
			collector.Submit(batch.Call[event.Event, error]{Ctx: ctx, In: e, Done: func(answer, err error) { done(n, errors.Join(answer, err)) }})
		}
	}
}

// Statuses returns the status of each answer.
func Statuses(answers []error) []int {
	all := make([]int, len(answers))
	for i, err := range answers {
		all[i] = delivery.Status(err)
	}
	return all
}
