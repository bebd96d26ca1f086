package instance_test

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/delivery"
	"example.com/orders/functions/internal/functiontest"
	"example.com/orders/functions/internal/instance"
	"example.com/orders/functions/internal/mysqltest"
	"example.com/orders/functions/internal/outbox"
	"example.com/orders/functions/internal/outboxtest"
	"example.com/orders/sql/schema"
)

func created(t *testing.T) events.OrderCreated {
	t.Helper()
	return functiontest.Created(t, events.Item{SKU: "SKU-123", Quantity: 2, UnitPrice: 1299})
}

// react handles order.created by a reaction that returns reserved, or nothing when broken says why it fails.
func react(ctx context.Context, i *instance.Instance, e event.Event, broken error) error {
	return instance.React(ctx, i, e, func(_ context.Context, _ *sql.Tx, e event.Event, order events.OrderCreated) ([]event.Event, error) {
		if broken != nil {
			return nil, broken
		}
		fact, err := events.New(reserved(order), 1, time.Now(), events.CauseOf(e))
		return []event.Event{fact}, err
	})
}

func reserved(order events.OrderCreated) events.InventoryReserved {
	return events.InventoryReserved{OrderID: order.OrderID, Reservations: []events.Quantity{{SKU: "SKU-123", Quantity: 2}}}
}

// started is an instance with a schema, a journal and a list of pokes.
func started(t *testing.T) (i *instance.Instance, j *journal, pokes *[]uint8) {
	t.Helper()
	j, pokes = &journal{}, &[]uint8{}
	i = &instance.Instance{
		Name: "reserve-stock", Schema: schema.Inventory, DB: mysqltest.Open(t, schema.Inventory), Log: j.logger(),
		Poke: func(name string, shards ...uint8) {
			assert.Equal(t, schema.Inventory, name)
			*pokes = append(*pokes, shards...)
		},
	}
	require.NoError(t, i.Start(t.Context(), nil))
	t.Cleanup(func() { assert.NoError(t, i.Stop(context.Background())) })
	return i, j, pokes
}

func TestReactStoresItsEventsAndWakesTheRelay(t *testing.T) {
	i, _, pokes := started(t)
	order := created(t)
	e := functiontest.Event(t, order, 1)

	require.NoError(t, react(t.Context(), i, e, nil))
	require.NoError(t, react(t.Context(), i, e, nil))

	assert.Equal(t, []uint8{outbox.Shard(order.OrderID)}, *pokes, "once: a duplicate stores nothing")
	told := outboxtest.Drain(t, i.DB)
	require.Len(t, told, 1)
	fact, err := events.Decode[events.InventoryReserved](told[0])
	require.NoError(t, err)
	assert.Equal(t, reserved(order), fact)
	assert.Equal(t, functiontest.CorrelationID, told[0].Extensions()["correlationid"])
	assert.Equal(t, 1, mysqltest.Count(t, i.DB, "SELECT COUNT(*) FROM inbox WHERE consumer = 'reserve-stock'"))
}

func TestReactThatFailsWakesNobody(t *testing.T) {
	i, _, pokes := started(t)
	functiontest.AssertRetried(t, react(t.Context(), i, functiontest.Event(t, created(t), 1), errors.New("no stock table")))
	assert.Empty(t, *pokes)
	assert.Zero(t, mysqltest.Count(t, i.DB, "SELECT COUNT(*) FROM inbox"))
}

// Decoding lets nothing through that the columns do not take. What gets past it all the same ends here: tried again it
// would be refused again.
func TestAValueThatTheDatabaseRefusesIsPoison(t *testing.T) {
	i, j, _ := started(t)
	e := functiontest.Event(t, created(t), 1)
	store := func(_ context.Context, tx *sql.Tx, sku any) error {
		_, err := tx.ExecContext(t.Context(), "INSERT INTO inventory (sku, available_qty, reserved_qty, version, updated_at) VALUES (?, 0, 0, 1, NOW(6))", sku)
		return err
	}
	for name, sku := range map[string]any{"not UTF-8": "\xff", "not ASCII": "é", "too long": strings.Repeat("s", 65), "nothing": nil} {
		answer := instance.React(t.Context(), i, e, func(ctx context.Context, tx *sql.Tx, _ event.Event, _ events.OrderCreated) ([]event.Event, error) {
			return nil, store(ctx, tx, sku)
		})
		functiontest.AssertPoison(t, answer)
		lines := j.take(t)
		require.Len(t, lines, 1, name)
		assert.Equal(t, "event is poison", lines[0]["msg"], name)

		answers := instance.ReactGroup(t.Context(), i, []event.Event{e}, func(ctx context.Context, tx *sql.Tx, _ []instance.Delivered[events.OrderCreated]) ([][]event.Event, error) {
			return [][]event.Event{nil}, store(ctx, tx, sku)
		})
		assert.ErrorIs(t, answers[0], delivery.ErrAlone, "which of a group it is, is found out one by one: %s", name)
		j.take(t)
	}
	answer := instance.React(t.Context(), i, e, func(_ context.Context, tx *sql.Tx, _ event.Event, _ events.OrderCreated) ([]event.Event, error) {
		_, err := tx.ExecContext(t.Context(), "INSERT INTO inventory (sku, available_qty, reserved_qty, version, updated_at) VALUES ('SKU-1', -1, 0, 1, NOW(6))")
		return nil, err
	})
	functiontest.AssertRetried(t, answer) // the level may be another one the next time
}

func TestTransactWakesTheRelayAfterTheCommit(t *testing.T) {
	i, _, pokes := started(t)
	order := created(t)
	fact := functiontest.Event(t, reserved(order), 1)
	i.Poke = func(string, ...uint8) {
		*pokes = append(*pokes, 1)
		assert.Equal(t, 1, mysqltest.Count(t, i.DB, "SELECT COUNT(*) FROM outbox"), "the row is there for the relay to see")
	}
	require.NoError(t, i.Transact(t.Context(), func(context.Context, *sql.Tx) ([]event.Event, error) { return []event.Event{fact}, nil }))
	require.NoError(t, i.Transact(t.Context(), func(context.Context, *sql.Tx) ([]event.Event, error) { return nil, nil }))
	assert.Len(t, *pokes, 1)
	broken := errors.New("broken")
	assert.ErrorIs(t, i.Transact(t.Context(), func(context.Context, *sql.Tx) ([]event.Event, error) { return nil, broken }), broken)
	assert.Len(t, *pokes, 1)
}

func TestEachOutcomeIsOneLineWithTheFlow(t *testing.T) {
	i, j, _ := started(t)
	order := created(t)
	first, other := functiontest.Event(t, order, 1), functiontest.Event(t, created(t), 1)
	broken := errors.New("stock cannot be read")
	cases := []struct {
		name                   string
		e                      event.Event
		answer                 error
		status                 int
		level, message, detail string
	}{
		{"handled", first, react(t.Context(), i, first, nil), 200, "INFO", "event handled", "inventory.reserved"},
		{"handled before", first, react(t.Context(), i, first, nil), 200, "INFO", "event handled", "duplicate"},
		{"failed", other, react(t.Context(), i, other, broken), 503, "WARN", "event failed, to be delivered again", broken.Error()},
		{"declared poison", other, react(t.Context(), i, other, delivery.Poison(broken)), 422, "ERROR", "event is poison", broken.Error()},
		{"malformed", other, react(t.Context(), i, functiontest.Broken(other), nil), 422, "ERROR", "event is poison", "decode order.created"},
		{"of another type", other, i.Refuse(t.Context(), other), 422, "ERROR", "event is poison", `reserve-stock does not handle events of type "order.created"`},
		{"without an effect", other, i.Observe(t.Context(), other, func() (string, error) { return "nothing to do", nil }), 200, "INFO", "event handled", "nothing to do"},
	}
	lines := j.take(t)
	require.Len(t, lines, len(cases))
	for n, c := range cases {
		line := lines[n]
		assert.Equal(t, c.status, delivery.Status(c.answer), c.name)
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
			assert.ErrorContains(t, c.answer, c.detail, c.name)
		}
	}
}

func TestAnEmptyOutcomeIsNoLine(t *testing.T) {
	i, j, _ := started(t)
	tick := event.New()
	tick.SetID("tick-1")
	tick.SetType(instance.TickType)
	tick.SetSource("/ping")
	require.NoError(t, i.Observe(t.Context(), tick, func() (string, error) { return "", nil }))
	assert.Empty(t, j.take(t))
	functiontest.AssertRetried(t, i.Observe(t.Context(), tick, func() (string, error) { return "", errors.New("broker away") }))
	lines := j.take(t)
	require.Len(t, lines, 1)
	assert.Equal(t, "tick-1", lines[0]["correlation_id"], "an event that begins a flow names it")
	assert.NotContains(t, lines[0], "order_id")
}

func TestAnEventWithoutAnAcceptableIDIsPoison(t *testing.T) {
	i, _, _ := started(t)
	longer := strings.Repeat("x", 129)
	for name, change := range map[string]func(*event.Event){
		"an id longer than is kept":    func(e *event.Event) { e.SetID(longer) },
		"a source longer than is kept": func(e *event.Event) { e.SetSource("/" + longer) },
	} {
		e := functiontest.Event(t, created(t), 1)
		change(&e)
		err := react(t.Context(), i, e, nil)
		assert.Equal(t, http.StatusUnprocessableEntity, delivery.Status(err), "%s: %v", name, err)
	}
}
