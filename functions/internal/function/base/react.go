package base

import (
	"cmp"
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/batch"
	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/messaging/inbox"
	"example.com/orders/functions/internal/observe/tracing"
	"example.com/orders/sql/transaction"
)

// TickType is the type of the events of a PingSource.
const TickType = "dev.knative.sources.ping"

// Fact is an event that was decoded.
type Fact[T events.Data] struct {
	Event event.Event
	Data  T
}

// reaction is what a function does about the events of one type. It answers each of es by done, with its index.
type reaction func(ctx context.Context, es []event.Event, done func(n int, err error))

// React registers what a function does about a fact of type T, in the transaction that records it as handled. The events
// that react returns are stored in the outbox. Facts that come at the same time share a transaction, in the order of their
// subjects, so that two such transactions take their rows in the same order. An error of react rolls the transaction back;
// each fact then has one of its own.
func React[T events.Data](b *Base, react func(context.Context, *transaction.Tx, Fact[T]) ([]event.Event, error)) {
	ReactAll(b, func(ctx context.Context, tx *transaction.Tx, facts []Fact[T]) ([][]event.Event, error) {
		emitted := make([][]event.Event, len(facts))
		for _, n := range bySubject(facts) {
			some, err := react(ctx, tx, facts[n])
			if err != nil {
				return nil, err
			}
			emitted[n] = some
		}
		return emitted, nil
	})
}

// bySubject returns the indices of facts in the order of their subjects.
func bySubject[T events.Data](facts []Fact[T]) []int {
	order := make([]int, len(facts))
	for n := range order {
		order[n] = n
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(facts[i].Event.Subject(), facts[j].Event.Subject()) })
	return order
}

// ReactAll is React for facts that one statement can serve many of: react gets all that share a transaction, and returns
// what each of them led to, in their order.
func ReactAll[T events.Data](b *Base, react func(context.Context, *transaction.Tx, []Fact[T]) ([][]event.Event, error)) {
	// All of it is less than a KafkaSource waits for its answer.
	o := batch.Options{Size: 64, Parallel: 1, Timeout: 10 * time.Second, AloneTimeout: 15 * time.Second}
	Answer(b, o, func(ctx context.Context, facts []Fact[T], alone bool) ([]Outcome, error) {
		es := make([]event.Event, len(facts))
		for n, f := range facts {
			es[n] = f.Event
		}
		var emitted [][]event.Event
		fresh, shards, err := inbox.Once(ctx, b.DB, b.Name, es, alone, b.Now, func(ctx context.Context, tx *transaction.Tx, fresh []int) (all []event.Event, err error) {
			these := make([]Fact[T], len(fresh))
			for n, index := range fresh {
				these[n] = facts[index]
			}
			if emitted, err = react(ctx, tx, these); err != nil {
				return nil, err
			}
			return slices.Concat(emitted...), nil
		})
		if err != nil {
			return nil, err
		}
		b.wake(shards)
		outcomes := make([]Outcome, len(facts))
		for n := range outcomes {
			outcomes[n].Text = repeated
		}
		for n, index := range fresh {
			outcomes[index].Text = emits(emitted[n])
		}
		return outcomes, nil
	})
}

// Outcome is what became of an event: what its handling led to, for the log and the metrics, or why it failed.
type Outcome struct {
	Text string
	Err  error
}

// repeated is the outcome of an event that was handled before.
const repeated = "duplicate"

// emits names what an event led to, for the log.
func emits(emitted []event.Event) string {
	if len(emitted) == 0 {
		return "nothing to do"
	}
	return emitted[0].Type()
}

// submitted is a fact that waits for its batch.
type submitted[T events.Data] struct {
	Fact[T]
	begin time.Time // of the batch; zero while it waits
}

// Answer registers what a function does about facts of type T with transactions, and a record of what was handled, of its
// own. Facts that come at the same time are in one batch, within the options; answer returns the outcome of each, in their
// order. It fails and is alone as a batch.Run.
func Answer[T events.Data](b *Base, o batch.Options, answer batch.Run[Fact[T], Outcome]) {
	collector := batch.New(o, func(ctx context.Context, in []*submitted[T], alone bool) (outcomes []Outcome, err error) {
		begin, facts, es := time.Now(), make([]Fact[T], len(in)), make([]event.Event, len(in))
		for n, s := range in {
			s.begin, facts[n], es[n] = begin, s.Fact, s.Event
		}
		ctx = tracing.Lead(ctx, es)
		defer func() {
			if p := recover(); p != nil {
				b.Log.ErrorContext(ctx, "function panicked", "function", b.Name, "panic", p, "events", len(in), "stack", string(debug.Stack()))
				err = fmt.Errorf("panic: %v", p)
			}
			if err != nil && !alone {
				b.Log.DebugContext(ctx, "batch failed, its events are handled one by one now", "function", b.Name, "count", len(in), "error", err)
			}
		}()
		return answer(ctx, facts, alone)
	})
	var fact T
	b.on(fact.Type(), func(ctx context.Context, es []event.Event, done func(int, error)) {
		calls := make([]batch.Call[*submitted[T], Outcome], 0, len(es))
		for n, e := range es {
			begin := time.Now()
			data, err := events.Decode[T](e)
			if err != nil {
				done(n, b.report(ctx, e, begin, "", delivery.Poison(err)))
				continue
			}
			s := &submitted[T]{Fact: Fact[T]{e, data}}
			calls = append(calls, batch.Call[*submitted[T], Outcome]{Ctx: ctx, In: s, Done: func(o Outcome, err error) {
				switch {
				case s.begin.IsZero(): // it was not handled, for a caller that has gone
					done(n, delivery.Result(err))
				case err != nil:
					done(n, b.report(ctx, e, s.begin, "", err))
				default:
					done(n, b.report(ctx, e, s.begin, o.Text, o.Err))
				}
			}})
		}
		collector.Submit(calls...)
	})
}

// On registers how a function handles events of a type that are no facts, such as pokes and ticks: each by itself, at once,
// and whenever it is delivered. An empty outcome is not worth a line in the log.
func (b *Base) On(eventType string, handle func(context.Context, event.Event) (outcome string, err error)) {
	b.on(eventType, func(ctx context.Context, es []event.Event, done func(int, error)) {
		for n, e := range es {
			begin := time.Now()
			outcome, err := handle(ctx, e)
			done(n, b.report(ctx, e, begin, outcome, err))
		}
	})
}

func (b *Base) on(eventType string, r reaction) {
	if b.reactions == nil {
		b.reactions = map[string]reaction{}
	}
	if _, twice := b.reactions[eventType]; twice {
		panic(fmt.Sprintf("%s has two reactions to %s", b.Name, eventType))
	}
	b.reactions[eventType] = r
}

// Handle answers an event by the function's reaction to its type: nil when it has been handled, poison (422) when it never
// can be, and else 503. An event of a type without a reaction is poison. When ctx ends first the event is to be delivered
// again.
func (b *Base) Handle(ctx context.Context, e event.Event) error {
	answer := make(chan error, 1)
	b.Submit(ctx, func(_ int, err error) { answer <- err }, e)
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return delivery.Result(ctx.Err())
	}
}

// Submit is Handle for a caller that does not wait for facts; what is none (see On) is handled before it returns. done is
// called once for each event, with its index, and must not block. Several facts of one type are in one batch when none is
// under way. A fact whose turn has not come when ctx ends is not handled.
func (b *Base) Submit(ctx context.Context, done func(n int, err error), es ...event.Event) {
	if err := b.Started(); err != nil {
		for n := range es {
			done(n, delivery.Result(err))
		}
		return
	}
	for _, indices := range byType(es) {
		same := make([]event.Event, len(indices))
		for n, index := range indices {
			same[n] = es[index]
		}
		react, known := b.reactions[same[0].Type()]
		if !known {
			react = b.refuse
		}
		react(ctx, same, func(n int, err error) { done(indices[n], err) })
	}
}

// byType returns the indices of the events of each type, type by type as they come first.
func byType(es []event.Event) (indices [][]int) {
	types := map[string]int{}
	for i, e := range es {
		n, known := types[e.Type()]
		if !known {
			n = len(indices)
			types[e.Type()] = n
			indices = append(indices, nil)
		}
		indices[n] = append(indices[n], i)
	}
	return indices
}

// refuse is the reaction to events of a type that has none.
func (b *Base) refuse(ctx context.Context, es []event.Event, done func(int, error)) {
	for n, e := range es {
		done(n, b.report(ctx, e, time.Now(), "", delivery.Poison(fmt.Errorf(
			"%s does not handle events of type %q: check which topic its KafkaSource reads", b.Name, e.Type()))))
	}
}
