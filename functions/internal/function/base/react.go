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
	"example.com/orders/functions/internal/messaging/failpoint"
	"example.com/orders/functions/internal/messaging/inbox"
	"example.com/orders/functions/internal/observe/tracing"
	"example.com/orders/sql/transaction"
)

// TickType is the type of the events that a PingSource sends.
const TickType = "dev.knative.sources.ping"

// Fact is a decoded event.
type Fact[T events.Data] struct {
	Event event.Event
	Data  T
}

// reaction handles events of one type. It answers each of es by calling done with its index.
type reaction func(ctx context.Context, es []event.Event, done func(n int, err error))

// React registers react for facts of type T. It runs in the transaction that records the fact in the inbox, and the events
// that it returns are stored in the outbox. Concurrent facts share a transaction, sorted by subject, so that such
// transactions lock rows in the same order and do not deadlock. An error of react rolls the batch back; then each of its
// facts gets its own transaction.
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

// bySubject returns the indices of facts, sorted by subject.
func bySubject[T events.Data](facts []Fact[T]) []int {
	order := make([]int, len(facts))
	for n := range order {
		order[n] = n
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(facts[i].Event.Subject(), facts[j].Event.Subject()) })
	return order
}

// ReactAll is React for a function that handles a batch with few statements: react gets all facts that share a transaction,
// and returns the events of each, in the same order.
func ReactAll[T events.Data](b *Base, react func(context.Context, *transaction.Tx, []Fact[T]) ([][]event.Event, error)) {
	ReactThen(b, func(ctx context.Context, tx *transaction.Tx, facts []Fact[T]) ([]Effect, error) {
		emitted, err := react(ctx, tx, facts)
		effects := make([]Effect, len(emitted))
		for n := range emitted {
			effects[n].Emitted = emitted[n]
		}
		return effects, err
	})
}

// Effect is what a reaction to one fact results in.
type Effect struct {
	// Emitted are stored in the outbox.
	Emitted []event.Event
	// Then runs after the commit, at the same time as those of other facts, and before the fact is answered; it may be nil. It
	// is for what cannot be in a transaction, such as a call of another system. The process may die before or in it, and a
	// redelivery does not run it again, so the transaction must have stored what is to be done. It returns the outcome for the
	// log. Its ctx does not end with the delivery's, so Then bounds its own time.
	Then func(ctx context.Context) (outcome string)
}

// ReactThen is ReactAll for a function that does something after the commit.
func ReactThen[T events.Data](b *Base, react func(context.Context, *transaction.Tx, []Fact[T]) ([]Effect, error)) {
	// Both timeouts together are shorter than a KafkaSource waits for the answer.
	o := batch.Options{Size: 64, Parallel: 1, Timeout: 10 * time.Second, AloneTimeout: 15 * time.Second}
	Answer(b, o, func(ctx context.Context, facts []Fact[T], alone bool) ([]Outcome, error) {
		es := make([]event.Event, len(facts))
		for n, f := range facts {
			es[n] = f.Event
		}
		var effects []Effect
		fresh, shards, err := inbox.Once(ctx, b.store(), b.Name, es, alone, func(ctx context.Context, tx *transaction.Tx, fresh []int) (all []event.Event, err error) {
			these := make([]Fact[T], len(fresh))
			for n, index := range fresh {
				these[n] = facts[index]
			}
			if effects, err = react(ctx, tx, these); err != nil {
				return nil, err
			}
			for _, effect := range effects {
				all = append(all, effect.Emitted...)
			}
			return all, nil
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
			outcomes[index] = Outcome{Text: emits(effects[n].Emitted), then: effects[n].Then}
		}
		return outcomes, nil
	})
}

// Outcome is the result of handling an event, for the log and the metrics: the effect, or the error.
type Outcome struct {
	Text string
	Err  error

	then func(context.Context) string // runs before the outcome is reported, and replaces Text
}

// repeated is the outcome of a duplicate.
const repeated = "duplicate"

// emits names the effect of an event, for the log.
func emits(emitted []event.Event) string {
	if len(emitted) == 0 {
		return "nothing to do"
	}
	return emitted[0].Type()
}

// submitted is a fact that waits for its batch.
type submitted[T events.Data] struct {
	Fact[T]
	begin time.Time // when its batch began; zero while it waits
}

// Answer registers answer for facts of type T, for a function with its own transactions and its own dedupe. Concurrent facts
// form a batch within the options; answer returns the outcome of each, in the same order. Its error and alone work as in
// batch.Run.
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
				b.Log.DebugContext(ctx, "batch failed, handling its events one at a time", "function", b.Name, "count", len(in), "error", err)
			}
		}()
		return answer(ctx, facts, alone)
	})
	var fact T
	b.on(fact.Type(), func(ctx context.Context, es []event.Event, done func(int, error)) {
		calls := make([]batch.Call[*submitted[T], Outcome], 0, len(es))
		for n, e := range es {
			begin := time.Now()
			e, data, err := decode[T](ctx, b, e)
			if err != nil {
				done(n, b.report(ctx, e, begin, "", err))
				continue
			}
			s := &submitted[T]{Fact: Fact[T]{e, data}}
			calls = append(calls, batch.Call[*submitted[T], Outcome]{Ctx: ctx, In: s, Done: func(o Outcome, err error) {
				switch {
				case s.begin.IsZero(): // not handled, since its caller is gone
					done(n, delivery.Result(err))
				case err != nil:
					done(n, b.report(ctx, e, s.begin, "", err))
				case o.then != nil:
					go func() { done(n, b.report(ctx, e, s.begin, b.after(ctx, e, o.then), nil)) }()
				default:
					done(n, b.report(ctx, e, s.begin, o.Text, o.Err))
				}
			}})
		}
		collector.Submit(calls...)
	})
}

// decode returns a fact with its data as JSON, and the data itself. Its error is poison, unless the data is in Avro and nothing
// is known about its schema: then the event is not to blame.
func decode[T events.Data](ctx context.Context, b *Base, e event.Event) (event.Event, T, error) {
	var none T
	e, err := b.Avro.JSON(ctx, e)
	if err != nil {
		return e, none, err
	}
	data, err := events.Decode[T](e)
	if err != nil {
		return e, none, delivery.Poison(err)
	}
	return e, data, nil
}

// after runs what follows the commit of an event's effect, and returns its outcome. A panic is logged, and leaves the rest to
// whoever finds what the transaction has stored.
func (b *Base) after(ctx context.Context, e event.Event, then func(context.Context) string) (outcome string) {
	ctx = failpoint.In(tracing.Of(context.WithoutCancel(ctx), e), b.Name)
	defer func() {
		if p := recover(); p != nil {
			b.Log.ErrorContext(ctx, "function panicked", "function", b.Name, "panic", p, "event_id", e.ID(), "stack", string(debug.Stack()))
			outcome = fmt.Sprintf("panic after the commit: %v", p)
		}
	}()
	return then(ctx)
}

// On registers handle for events that are not facts, such as pokes and ticks: each is handled at once, without batch and
// dedupe. An empty outcome is not logged.
func (b *Base) On(eventType string, handle func(context.Context, event.Event) (outcome string, err error)) {
	b.on(eventType, func(ctx context.Context, es []event.Event, done func(int, error)) {
		for n, e := range es {
			done(n, b.Observe(ctx, e, func() (string, error) { return handle(ctx, e) }))
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

// Handle runs the reaction to the event's type. It returns nil if the event has been handled, poison (422) if it never can
// be, and else 503, which asks for a retry. An event of a type without a reaction is poison. If ctx ends first, the answer
// is 503.
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

// Submit is Handle for a caller that does not wait for facts; other events (see On) are handled before it returns. done is
// called once for each event, with its index, and must not block. Facts of one type form one batch if none is running. A
// fact that still waits when ctx ends is not handled.
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

// byType returns the indices of the events of each type, types in order of first appearance.
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

// refuse is the reaction to event types without one.
func (b *Base) refuse(ctx context.Context, es []event.Event, done func(int, error)) {
	for n, e := range es {
		done(n, b.report(ctx, e, time.Now(), "", delivery.Poison(fmt.Errorf(
			"%s does not handle events of type %q: check which topic its KafkaSource reads", b.Name, e.Type()))))
	}
}
