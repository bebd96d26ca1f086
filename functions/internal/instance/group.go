package instance

import (
	"cmp"
	"context"
	"database/sql"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/functions/internal/delivery"
	"example.com/orders/functions/internal/inbox"
	"example.com/orders/functions/internal/tracing"
)

// Delivered is an event that was decoded.
type Delivered[T events.Data] struct {
	Event event.Event
	Data  T
}

// GroupReaction is a Reaction to several facts in one transaction. It returns what each of them led to, in their order.
// Whatever it cannot do for one of them is an error for all: they are then handled one by one.
type GroupReaction[T events.Data] func(ctx context.Context, tx *sql.Tx, group []Delivered[T]) ([][]event.Event, error)

// ReactGroup is React for several events in one transaction. It returns the answer to each: delivery.ErrAlone when the
// transaction failed, which says nothing about a single one of them.
func ReactGroup[T events.Data](ctx context.Context, i *Instance, es []event.Event, react GroupReaction[T]) []error {
	answers := make([]error, len(es))
	if err := i.Started(); err != nil {
		for n := range answers {
			answers[n] = delivery.Result(err)
		}
		return answers
	}
	begin := time.Now()
	sound, decoded, places := decodeAll[T](ctx, i, es, begin, answers)
	if len(sound) == 0 {
		return answers
	}
	ctx = tracing.Lead(ctx, sound)
	var emitted [][]event.Event
	fresh, shards, err := inbox.OnceEach(ctx, i.DB, i.Name, sound, i.Now, func(ctx context.Context, tx *sql.Tx, fresh []int) (all []event.Event, err error) {
		batch := make([]Delivered[T], len(fresh))
		for n, index := range fresh {
			batch[n] = decoded[index]
		}
		if emitted, err = react(ctx, tx, batch); err != nil {
			return nil, err
		}
		for _, some := range emitted {
			all = append(all, some...)
		}
		return all, nil
	})
	if err != nil {
		i.Log.DebugContext(ctx, "events not handled together, one by one now", "function", i.Name, "count", len(sound), "error", err)
		for _, place := range places {
			answers[place] = delivery.ErrAlone
		}
		return answers
	}
	i.wake(shards)
	outcomes := make([]string, len(sound))
	for n, index := range fresh {
		outcomes[index] = emits(emitted[n])
	}
	for n, e := range sound {
		answers[places[n]] = i.Report(ctx, e, begin, cmp.Or(outcomes[n], repeated), nil)
	}
	return answers
}

// decodeAll returns the events that can be decoded, what they say, and their indices in es; the answers to the others
// are set.
func decodeAll[T events.Data](ctx context.Context, i *Instance, es []event.Event, begin time.Time, answers []error) (sound []event.Event, decoded []Delivered[T], places []int) {
	for n, e := range es {
		data, err := events.Decode[T](e)
		if err != nil {
			answers[n] = i.Report(ctx, e, begin, "", delivery.Poison(err))
			continue
		}
		sound, decoded, places = append(sound, e), append(decoded, Delivered[T]{e, data}), append(places, n)
	}
	return sound, decoded, places
}

// RefuseAll is Refuse for several events.
func (i *Instance) RefuseAll(ctx context.Context, es []event.Event) []error {
	answers := make([]error, len(es))
	for n, e := range es {
		answers[n] = i.Refuse(ctx, e)
	}
	return answers
}
