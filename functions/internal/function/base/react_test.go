package base_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/observe/exposition"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/transaction"
)

func created(t *testing.T) events.OrderCreated {
	t.Helper()
	return functiontest.Created(t, events.Item{SKU: "SKU-123", Quantity: 2, UnitPrice: 1299})
}

func reserved(order events.OrderCreated) events.InventoryReserved {
	return events.InventoryReserved{OrderID: order.OrderID, Reservations: []events.Quantity{{SKU: "SKU-123", Quantity: 2}}}
}

// stock is a function that reserves stock for every order, except the ids in broken.
type stock struct {
	base.Base
	broken map[string]error

	mu      sync.Mutex
	batches [][]string // the subjects of the facts of each transaction
}

func (s *stock) react(_ context.Context, _ *transaction.Tx, facts []base.Fact[events.OrderCreated]) (emitted [][]event.Event, err error) {
	var subjects []string
	for _, f := range facts {
		subjects = append(subjects, f.Event.Subject())
		fact, failed := events.New(reserved(f.Data), 1, time.Now(), events.CauseOf(f.Event))
		emitted, err = append(emitted, []event.Event{fact}), errors.Join(err, failed, s.broken[f.Data.OrderID])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batches = append(s.batches, subjects)
	return emitted, err
}

// started returns a started function with its own schema, a journal and a list of pokes.
func started(t *testing.T) (s *stock, j *journal, pokes *[]uint8) {
	t.Helper()
	j, pokes = &journal{}, &[]uint8{}
	var poked sync.Mutex
	s = &stock{broken: map[string]error{}, Base: base.Base{
		Name: "reserve-stock", Schema: schema.Inventory, DB: mysqltest.Open(t, schema.Inventory), Log: j.logger(),
		Poke: func(name string, shards ...uint8) {
			assert.Equal(t, schema.Inventory, name)
			poked.Lock()
			defer poked.Unlock()
			*pokes = append(*pokes, shards...)
		},
	}}
	base.ReactAll(&s.Base, s.react)
	require.NoError(t, s.Start(t.Context(), nil))
	t.Cleanup(func() { assert.NoError(t, s.Stop(context.Background())) })
	return s, j, pokes
}

func TestReactStoresItsEventsAndWakesTheRelay(t *testing.T) {
	f, _, pokes := started(t)
	order := created(t)
	e := functiontest.Event(t, order, 1)

	require.NoError(t, f.Handle(t.Context(), e))
	require.NoError(t, f.Handle(t.Context(), e))

	assert.Equal(t, []uint8{outbox.Shard(order.OrderID)}, *pokes, "once: a duplicate stores nothing")
	emitted := outboxtest.Drain(t, f.DB)
	require.Len(t, emitted, 1)
	fact, err := events.Decode[events.InventoryReserved](emitted[0])
	require.NoError(t, err)
	assert.Equal(t, reserved(order), fact)
	assert.Equal(t, functiontest.CorrelationID, emitted[0].Extensions()["correlationid"])
	assert.Equal(t, 1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM inbox WHERE consumer = 'reserve-stock'"))
}

func TestAFailedReactionPokesNoRelay(t *testing.T) {
	f, _, pokes := started(t)
	order := created(t)
	f.broken[order.OrderID] = errors.New("no stock table")
	functiontest.AssertRetried(t, f.Handle(t.Context(), functiontest.Event(t, order, 1)))
	assert.Empty(t, *pokes)
	assert.Zero(t, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM inbox"))
}

func TestFactsThatComeTogetherShareATransactionAndHaveTheirOwnAnswers(t *testing.T) {
	f, j, pokes := started(t)
	old, a, b := functiontest.Event(t, created(t), 1), functiontest.Event(t, created(t), 1), functiontest.Event(t, created(t), 1)
	require.NoError(t, f.Handle(t.Context(), old))
	j.take(t)
	stranger := b.Clone()
	stranger.SetType(events.OrderCanceledType)

	answers := functiontest.Together(t.Context(), f, old, a, functiontest.Broken(b), stranger, b, a)

	assert.Equal(t, []int{200, 200, 422, 422, 200, 200}, functiontest.Statuses(answers))
	var outcomes []any
	for _, line := range j.take(t) {
		outcomes = append(outcomes, line["outcome"])
	}
	assert.ElementsMatch(t, []any{"duplicate", "inventory.reserved", nil, nil, "inventory.reserved", "duplicate"}, outcomes)
	assert.Equal(t, [][]string{{old.Subject()}, {a.Subject(), b.Subject()}}, f.batches)
	assert.Len(t, *pokes, 3)
	assert.Len(t, outboxtest.Drain(t, f.DB), 3)
}

func TestOfABatchOnlyTheFactThatFailsIsTriedAgain(t *testing.T) {
	f, j, pokes := started(t)
	var batch []event.Event
	for range 3 {
		batch = append(batch, functiontest.Event(t, created(t), 1))
	}
	f.broken[batch[1].Subject()] = delivery.Poison(errors.New("this one never"))

	answers := functiontest.Together(t.Context(), f, batch...)

	assert.Equal(t, []int{200, 422, 200}, functiontest.Statuses(answers))
	var messages []any
	for _, line := range j.take(t) {
		messages = append(messages, line["msg"])
	}
	assert.Equal(t, "batch failed, handling its events one at a time", messages[0])
	assert.ElementsMatch(t, []any{"event handled", "event is poison", "event handled"}, messages[1:])
	assert.Len(t, f.batches, 4, "once as a batch, and each alone")
	assert.Len(t, *pokes, 2)
	assert.Equal(t, 2, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM inbox"))
}

func TestAPanicIsAFailureOfItsEventAlone(t *testing.T) {
	f, j, _ := started(t)
	broken := functiontest.Event(t, created(t), 1)
	panics := &stock{Base: base.Base{Name: f.Name, Schema: f.Schema, DB: f.DB, Log: f.Log}}
	base.React(&panics.Base, func(_ context.Context, _ *transaction.Tx, fact base.Fact[events.OrderCreated]) ([]event.Event, error) {
		if fact.Event.ID() == broken.ID() {
			panic("no such shelf")
		}
		return nil, nil
	})
	require.NoError(t, panics.Start(t.Context(), nil))

	answers := functiontest.Together(t.Context(), panics, functiontest.Event(t, created(t), 1), broken, functiontest.Event(t, created(t), 1))

	assert.Equal(t, []int{200, 503, 200}, functiontest.Statuses(answers))
	var stacks int
	for _, line := range j.take(t) {
		if line["msg"] == "function panicked" {
			stacks++
			assert.Contains(t, line["stack"], "react_test.go")
		}
	}
	assert.Equal(t, 2, stacks, "in the batch, and alone")
}

// Decoding refuses all values that the columns do not take. This is the case of one that passes decoding: a retry would fail
// again.
func TestAValueThatTheDatabaseRefusesIsPoison(t *testing.T) {
	f, j, _ := started(t)
	levels := map[string][]any{} // per order: the level to store
	stores := &stock{Base: base.Base{Name: f.Name, Schema: f.Schema, DB: f.DB, Log: f.Log}}
	base.React(&stores.Base, func(ctx context.Context, tx *transaction.Tx, fact base.Fact[events.OrderCreated]) ([]event.Event, error) {
		_, err := tx.ExecContext(ctx, "INSERT INTO inventory (sku, available_qty, reserved_qty, version, updated_at) VALUES (?, ?, 0, 1, NOW(6))",
			levels[fact.Data.OrderID]...)
		return nil, err
	})
	require.NoError(t, stores.Start(t.Context(), nil))
	store := func(sku, available any) event.Event {
		order := created(t)
		levels[order.OrderID] = []any{sku, available}
		return functiontest.Event(t, order, 1)
	}
	for name, sku := range map[string]any{"not UTF-8": "\xff", "not ASCII": "é", "too long": strings.Repeat("s", 65), "nothing": nil} {
		functiontest.AssertPoison(t, stores.Handle(t.Context(), store(sku, 0)))
		lines := j.take(t)
		assert.Equal(t, "event is poison", lines[len(lines)-1]["msg"], name)
	}
	answers := functiontest.Together(t.Context(), stores, store("SKU-1", 1), store("\xff", 1), store("SKU-2", 1))
	assert.Equal(t, []int{200, 422, 200}, functiontest.Statuses(answers), "the retries alone show which one of the batch it is")

	functiontest.AssertRetried(t, stores.Handle(t.Context(), store("SKU-3", -1))) // the level may be another one at the retry
}

// Requests that arrive during a transaction form the next batch, in whatever way they arrive.
func TestConcurrentCallsShareATransaction(t *testing.T) {
	f, _, _ := started(t)
	first, begun, letGo := functiontest.Event(t, created(t), 1), make(chan struct{}), make(chan struct{})
	f.Metrics = exposition.New().Metrics
	holds := &stock{Base: base.Base{Name: f.Name, Schema: f.Schema, DB: f.DB, Log: f.Log}}
	base.ReactAll(&holds.Base, func(ctx context.Context, tx *transaction.Tx, facts []base.Fact[events.OrderCreated]) ([][]event.Event, error) {
		if facts[0].Event.ID() == first.ID() {
			close(begun)
			<-letGo
		}
		return holds.react(ctx, tx, facts)
	})
	require.NoError(t, holds.Start(t.Context(), nil))
	var calls sync.WaitGroup
	calls.Go(func() { assert.NoError(t, holds.Handle(t.Context(), first)) })
	<-begun
	const waiting = 20
	var answered sync.WaitGroup
	answered.Add(waiting)
	for range waiting {
		e := functiontest.Event(t, created(t), 1)
		holds.Submit(t.Context(), func(_ int, err error) { assert.NoError(t, err); answered.Done() }, e)
	}
	close(letGo)
	calls.Wait()
	answered.Wait()
	require.Len(t, holds.batches, 2)
	assert.Len(t, holds.batches[1], waiting)
}

func TestAReactionToOneFactGetsThoseOfABatchInTheOrderOfTheirSubjects(t *testing.T) {
	var j journal
	var subjects []string
	f := &stock{Base: base.Base{Name: "reserve-stock", Schema: schema.Inventory, DB: mysqltest.Open(t, schema.Inventory), Log: j.logger()}}
	base.React(&f.Base, func(_ context.Context, _ *transaction.Tx, fact base.Fact[events.OrderCreated]) ([]event.Event, error) {
		subjects = append(subjects, fact.Data.OrderID)
		e, err := events.New(reserved(fact.Data), 1, time.Now(), events.CauseOf(fact.Event))
		return []event.Event{e}, err
	})
	require.NoError(t, f.Start(t.Context(), nil))
	var batch []event.Event
	for range 5 {
		batch = append(batch, functiontest.Event(t, created(t), 1))
	}
	slices.Reverse(batch) // ids sort by time

	for _, err := range functiontest.Together(t.Context(), f, batch...) {
		require.NoError(t, err)
	}

	assert.Len(t, subjects, len(batch))
	assert.True(t, slices.IsSorted(subjects), "%v", subjects)
	for _, e := range outboxtest.Drain(t, f.DB) {
		assert.Equal(t, e.Subject()+"#1", e.Extensions()["causationid"], "each has its effect")
	}
}

func TestAnEventOfACallerWhoHasGoneIsNotHandled(t *testing.T) {
	f, j, _ := started(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	functiontest.AssertRetried(t, f.Handle(ctx, functiontest.Event(t, created(t), 1)))
	assert.Empty(t, f.batches)
	assert.Empty(t, j.take(t))
}

func TestTransactWakesTheRelayAfterTheCommit(t *testing.T) {
	i, _, pokes := started(t)
	order := created(t)
	fact := functiontest.Event(t, reserved(order), 1)
	i.Poke = func(string, ...uint8) {
		*pokes = append(*pokes, 1)
		assert.Equal(t, 1, mysqltest.Count(t, i.DB, "SELECT COUNT(*) FROM outbox"), "the relay can see the row")
	}
	require.NoError(t, i.Transact(t.Context(), func(context.Context, *transaction.Tx) ([]event.Event, error) { return []event.Event{fact}, nil }))
	require.NoError(t, i.Transact(t.Context(), func(context.Context, *transaction.Tx) ([]event.Event, error) { return nil, nil }))
	assert.Len(t, *pokes, 1)
	broken := errors.New("broken")
	assert.ErrorIs(t, i.Transact(t.Context(), func(context.Context, *transaction.Tx) ([]event.Event, error) { return nil, broken }), broken)
	assert.Len(t, *pokes, 1)
}

func TestEachOutcomeIsOneLineWithTheFlow(t *testing.T) {
	f, j, _ := started(t)
	broken := errors.New("stock cannot be read")
	good, failing, poisoned := created(t), created(t), created(t)
	f.broken = map[string]error{failing.OrderID: broken, poisoned.OrderID: delivery.Poison(broken)}
	f.On("clock", func(context.Context, event.Event) (string, error) { return "nothing to do", nil })
	fact := func(order events.OrderCreated) event.Event { return functiontest.Event(t, order, 1) }
	as := func(eventType string) event.Event {
		e := fact(good)
		e.SetType(eventType)
		return e
	}
	cases := []struct {
		name                   string
		e                      event.Event
		status                 int
		level, message, detail string
	}{
		{"handled", fact(good), 200, "INFO", "event handled", "inventory.reserved"},
		{"handled before", fact(good), 200, "INFO", "event handled", "duplicate"},
		{"failed", fact(failing), 503, "WARN", "event failed, will be retried", broken.Error()},
		{"declared poison", fact(poisoned), 422, "ERROR", "event is poison", broken.Error()},
		{"malformed", functiontest.Broken(fact(good)), 422, "ERROR", "event is poison", "decode order.created"},
		{"of another type", as("order.paid"), 422, "ERROR", "event is poison", `reserve-stock does not handle events of type "order.paid"`},
		{"without an effect", as("clock"), 200, "INFO", "event handled", "nothing to do"},
	}
	for _, c := range cases {
		answer := f.Handle(t.Context(), c.e)
		lines := slices.DeleteFunc(j.take(t), func(line map[string]any) bool { return line["level"] == "DEBUG" })
		require.Len(t, lines, 1, c.name)
		line := lines[0]
		assert.Equal(t, c.status, delivery.Status(answer), c.name)
		assert.Equal(t, c.level, line["level"], c.name)
		assert.Equal(t, c.message, line["msg"], c.name)
		assert.Equal(t, "reserve-stock", line["function"], c.name)
		assert.Equal(t, c.e.ID(), line["event_id"], c.name)
		assert.Equal(t, c.e.Type(), line["event_type"], c.name)
		assert.Equal(t, c.e.Subject(), line["order_id"], c.name)
		assert.Equal(t, functiontest.CorrelationID, line["correlation_id"], c.name)
		assert.Contains(t, line, "duration", c.name)
		if c.status == http.StatusOK {
			assert.Equal(t, c.detail, line["outcome"], c.name)
			assert.NotContains(t, line, "error", c.name)
		} else {
			assert.Contains(t, line["error"], c.detail, c.name)
			assert.ErrorContains(t, answer, c.detail, c.name)
		}
	}
}

func TestAnEmptyOutcomeIsNoLine(t *testing.T) {
	f, j, _ := started(t)
	var broken error
	f.On(base.TickType, func(context.Context, event.Event) (string, error) { return "", broken })
	tick := event.New()
	tick.SetID("tick-1")
	tick.SetType(base.TickType)
	tick.SetSource("/ping")
	require.NoError(t, f.Handle(t.Context(), tick))
	assert.Empty(t, j.take(t))
	broken = errors.New("broker away")
	functiontest.AssertRetried(t, f.Handle(t.Context(), tick))
	lines := j.take(t)
	require.Len(t, lines, 1)
	assert.Equal(t, "tick-1", lines[0]["correlation_id"], "an event that begins a flow gives it its id")
	assert.NotContains(t, lines[0], "order_id")
}

func TestAnEventWithoutAnAcceptableIDIsPoison(t *testing.T) {
	f, _, _ := started(t)
	longer := strings.Repeat("x", 129)
	for name, change := range map[string]func(*event.Event){
		"an id longer than is kept":    func(e *event.Event) { e.SetID(longer) },
		"a source longer than is kept": func(e *event.Event) { e.SetSource("/" + longer) },
	} {
		e := functiontest.Event(t, created(t), 1)
		change(&e)
		err := f.Handle(t.Context(), e)
		assert.Equal(t, http.StatusUnprocessableEntity, delivery.Status(err), "%s: %v", name, err)
	}
}

func TestTwoReactionsToATypeAreAMistake(t *testing.T) {
	f, _, _ := started(t)
	assert.PanicsWithValue(t, "reserve-stock has two reactions to order.created", func() { base.ReactAll(&f.Base, f.react) })
}
