package kafka

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/functions/internal/delivery"
	"example.com/orders/functions/internal/tracing"
)

// group hands over together what waits at the same time, of all partitions of a session: no two records of one key, since
// only the first of a key that is not finished has its turn. One call follows the other, so that what comes during one
// makes the next.
type group struct {
	source *Source
	work   context.Context //nolint:containedctx // the session's

	mu      sync.Mutex
	waiting []task
	running bool
}

// add lets a task go with the next call.
func (g *group) add(t task) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = append(g.waiting, t)
	if !g.running {
		g.running = true
		go g.run()
	}
}

// run makes calls until nothing waits.
func (g *group) run() {
	for tasks := g.take(); tasks != nil; tasks = g.take() {
		es := make([]event.Event, len(tasks))
		for i, t := range tasks {
			es[i] = g.source.event(t.record.ConsumerMessage)
		}
		for i, err := range g.source.attemptAll(g.work, es) {
			t := tasks[i]
			switch {
			case errors.Is(err, delivery.ErrAlone):
				go t.partition.run(t, nil)
			case delivery.Judge(delivery.Status(err)) == delivery.Acknowledge:
				t.partition.finish(t)
			default:
				go t.partition.run(t, err)
			}
		}
	}
}

// take returns the tasks of the next call, nil when there are none, which ends run. What may not begin any more is left
// for the next owner of its partition.
func (g *group) take() (tasks []task) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for ; n < len(g.waiting) && len(tasks) < max(1, g.source.o.Group); n++ {
		t := g.waiting[n]
		if t.partition.over() {
			t.partition.tasks.Done()
			continue
		}
		tasks = append(tasks, t)
	}
	clear(g.waiting[:n]) // let go of the records
	g.waiting = g.waiting[n:]
	g.running = len(tasks) > 0
	return tasks
}

// attemptAll delivers several events for the first time, each with its answer. After a panic of the function each is to
// be delivered alone.
func (s *Source) attemptAll(ctx context.Context, es []event.Event) (answers []error) {
	ctx, cancel := context.WithTimeout(delivery.WithAttempt(ctx, 1), s.o.Spec.Delivery.Timeout)
	defer cancel()
	ends := make([]func(error), len(es))
	for i, e := range es {
		_, es[i], ends[i] = tracing.Consume(ctx, s.o.Spec.Sink, e)
	}
	defer func() {
		if p := recover(); p != nil {
			s.o.Log.ErrorContext(ctx, "function panicked", "panic", p, "events", len(es), "stack", string(debug.Stack()))
			answers = make([]error, len(es))
			for i := range answers {
				answers[i] = fmt.Errorf("%w: panic: %v", delivery.ErrAlone, p)
			}
		}
		for i, end := range ends {
			end(answers[i])
		}
	}()
	return s.o.DeliverAll(ctx, es)
}
