package reservestock

import (
	"database/sql"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/sql/servertest"
)

func stock(t *testing.T, db *sql.DB, sku string, available int) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), "INSERT INTO inventory (sku, available_qty, reserved_qty, version, updated_at) VALUES (?, ?, 0, 1, NOW(6))", sku, available)
	require.NoError(t, err)
}

type level struct{ available, reserved int }

func levelOf(t *testing.T, db *sql.DB, sku string) (l level) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT available_qty, reserved_qty FROM inventory WHERE sku = ?", sku).Scan(&l.available, &l.reserved))
	return l
}

func TestReserveTakesTheSumOfTheLines(t *testing.T) {
	f := functiontest.Start(t, New(), nil)
	stock(t, f.DB, "A", 10)
	stock(t, f.DB, "B", 10)
	order := functiontest.Created(t, events.Item{SKU: "B", Quantity: 1, UnitPrice: 5}, events.Item{SKU: "A", Quantity: 2, UnitPrice: 7}, events.Item{SKU: "B", Quantity: 3, UnitPrice: 6})
	e := functiontest.Event(t, order, 1)

	require.NoError(t, f.Handle(t.Context(), e))

	assert.Equal(t, level{8, 2}, levelOf(t, f.DB, "A"))
	assert.Equal(t, level{6, 4}, levelOf(t, f.DB, "B"))
	emitted := outboxtest.Drain(t, f.DB)
	require.Len(t, emitted, 1)
	fact, err := events.Decode[events.InventoryReserved](emitted[0])
	require.NoError(t, err)
	assert.Equal(t, events.InventoryReserved{OrderID: order.OrderID, Reservations: []events.Quantity{{SKU: "A", Quantity: 2}, {SKU: "B", Quantity: 4}}}, fact)
	assert.Equal(t, functiontest.CorrelationID, emitted[0].Extensions()["correlationid"])
	assert.Equal(t, e.ID(), emitted[0].Extensions()["causationid"])
}

func TestReserveTakesEveryVersionOfOrderCreated(t *testing.T) {
	f := functiontest.Start(t, New(), nil)
	stock(t, f.DB, "A", 10)
	first, second := functiontest.Created(t, events.Item{SKU: "A", Quantity: 2, UnitPrice: 7}), functiontest.Created(t, events.Item{SKU: "A", Quantity: 3, UnitPrice: 7})
	es := []event.Event{functiontest.Event(t, first.V1(), 1), functiontest.Event(t, second, 1)}
	require.Contains(t, string(es[0].Data()), `"version":1`)
	require.Contains(t, string(es[1].Data()), `"version":2`)

	for _, err := range functiontest.Together(t.Context(), f, es...) {
		require.NoError(t, err)
	}

	assert.Equal(t, level{5, 5}, levelOf(t, f.DB, "A"))
	assert.Len(t, outboxtest.Drain(t, f.DB), 2)
	for _, e := range es {
		require.NoError(t, f.Handle(t.Context(), e))
	}
	assert.Equal(t, level{5, 5}, levelOf(t, f.DB, "A"), "either may come again")
}

// reserved returns the reserved units of all orders, on which the reservation log and the inventory must agree.
func reserved(t *testing.T, db *sql.DB, sku string) int {
	t.Helper()
	held := mysqltest.Count(t, db, "SELECT COALESCE(SUM(delta_reserved), 0) FROM reservation_log WHERE sku = ?", sku)
	assert.Equal(t, held, levelOf(t, db, sku).reserved, "the log and the level of %s", sku)
	return held
}

func TestReserveLogsTheReservationAndPokesTheRelay(t *testing.T) {
	f := New()
	now := time.Date(2026, 11, 25, 12, 0, 0, 123456000, time.UTC)
	f.Now = func() time.Time { return now }
	var woken []string
	f.Poke = func(schema string, shards ...uint8) { woken = append(woken, schema); assert.Len(t, shards, 1) }
	functiontest.Start(t, f, nil)
	stock(t, f.DB, "A", 10)
	order := functiontest.Created(t, events.Item{SKU: "A", Quantity: 2, UnitPrice: 7}, events.Item{SKU: "A", Quantity: 3, UnitPrice: 7})
	e := functiontest.Event(t, order, 1)

	require.NoError(t, f.Handle(t.Context(), e))

	var source, eventID, orderID, status string
	var units int
	var at time.Time
	require.NoError(t, f.DB.QueryRowContext(t.Context(), "SELECT source, event_id, order_id, status, delta_reserved, created_at FROM reservation_log").
		Scan(&source, &eventID, &orderID, &status, &units, &at))
	assert.Equal(t, []any{e.Source(), e.ID(), order.OrderID, "RESERVED", 5, now}, []any{source, eventID, orderID, status, units, at})
	assert.Equal(t, 1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM reservations WHERE order_id = ? AND status = 'RESERVED' AND version = 1", order.OrderID))
	emitted := outboxtest.Drain(t, f.DB)
	require.Len(t, emitted, 1)
	assert.Equal(t, order.OrderID+"#1", emitted[0].ID())
	assert.Equal(t, events.InventorySource, emitted[0].Source())
	assert.Equal(t, []string{"inventory"}, woken)
}

func TestReserveTakesAllOrNothing(t *testing.T) {
	line := func(sku string, quantity int64) events.Item {
		return events.Item{SKU: sku, Quantity: quantity, UnitPrice: 1}
	}
	for name, c := range map[string]struct {
		items     []events.Item
		reason    string
		shortages []events.Shortage
	}{
		"one line is short":        {[]events.Item{line("B", 1), line("A", 11)}, events.ReasonOutOfStock, []events.Shortage{{SKU: "A", Requested: 11, Available: 10}}},
		"lines are short together": {[]events.Item{line("A", 6), line("B", 1), line("A", 5)}, events.ReasonOutOfStock, []events.Shortage{{SKU: "A", Requested: 11, Available: 10}}},
		"every short line is listed, in the order of the SKUs": {
			[]events.Item{line("Z", 1), line("C", 1), line("B", 21), line("A", 10)}, events.ReasonUnknownSKU,
			[]events.Shortage{{SKU: "B", Requested: 21, Available: 20}, {SKU: "C", Requested: 1}, {SKU: "Z", Requested: 1}},
		},
		"the SKU is sold out":          {[]events.Item{line("C", 1)}, events.ReasonOutOfStock, []events.Shortage{{SKU: "C", Requested: 1}}},
		"the SKU is unknown":           {[]events.Item{line("A", 1), line("Z", 3)}, events.ReasonUnknownSKU, []events.Shortage{{SKU: "Z", Requested: 3}}},
		"a SKU is known in other case": {[]events.Item{line("a", 1)}, events.ReasonUnknownSKU, []events.Shortage{{SKU: "a", Requested: 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			f := functiontest.Start(t, New(), nil)
			stock(t, f.DB, "A", 10)
			stock(t, f.DB, "B", 20)
			stock(t, f.DB, "C", 0)
			order := functiontest.Created(t, c.items...)

			require.NoError(t, f.Handle(t.Context(), functiontest.Event(t, order, 1)))

			assert.Equal(t, []level{{10, 0}, {20, 0}, {0, 0}}, []level{levelOf(t, f.DB, "A"), levelOf(t, f.DB, "B"), levelOf(t, f.DB, "C")})
			emitted := outboxtest.Drain(t, f.DB)
			require.Len(t, emitted, 1)
			fact, err := events.Decode[events.InventoryRejected](emitted[0])
			require.NoError(t, err)
			assert.Equal(t, events.InventoryRejected{OrderID: order.OrderID, Reason: c.reason, Shortages: c.shortages, CreatedAt: fact.CreatedAt}, fact)
			assert.Equal(t, 1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM reservations WHERE order_id = ? AND status = 'REJECTED'", order.OrderID))
			assert.Zero(t, mysqltest.Count(t, f.DB, "SELECT SUM(delta_reserved) FROM reservation_log WHERE status = 'REJECTED'"))
		})
	}
}

// The listed units are those after the concurrent change has committed, not before it.
func TestReserveListsTheUnitsUnderTheLock(t *testing.T) {
	f := functiontest.Start(t, New(), nil)
	f.careful.Store(math.MaxInt64)
	stock(t, f.DB, "A", 10)
	other, err := f.DB.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = other.ExecContext(t.Context(), "UPDATE inventory SET available_qty = 3 WHERE sku = 'A'")
	require.NoError(t, err)
	order := functiontest.Created(t, events.Item{SKU: "A", Quantity: 5, UnitPrice: 1})
	answer := make(chan error, 1)
	go func() { answer <- f.Handle(t.Context(), functiontest.Event(t, order, 1)) }()
	servertest.AwaitRunning(t, f.DB, "LockStocks", 1)
	require.NoError(t, other.Commit())
	require.NoError(t, <-answer)

	emitted := outboxtest.Drain(t, f.DB)
	require.Len(t, emitted, 1)
	fact, err := events.Decode[events.InventoryRejected](emitted[0])
	require.NoError(t, err)
	assert.Equal(t, []events.Shortage{{SKU: "A", Requested: 5, Available: 3}}, fact.Shortages)
}

// The sum of the lines of one SKU may be a hundred times the bound of one line.
func TestReserveAnswersTheLargestOrder(t *testing.T) {
	for name, c := range map[string]struct {
		available int
		want      string
		left      level
	}{
		"and takes it all":       {events.MaxReserved, events.InventoryReservedType, level{0, events.MaxReserved}},
		"and rejects it for one": {events.MaxReserved - 1, events.InventoryRejectedType, level{events.MaxReserved - 1, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			f := functiontest.Start(t, New(), nil)
			stock(t, f.DB, "A", c.available)
			items := make([]events.Item, events.MaxLines)
			for i := range items {
				items[i] = events.Item{SKU: "A", Quantity: events.MaxQuantity, UnitPrice: int64(i)}
			}
			require.NoError(t, f.Handle(t.Context(), functiontest.Event(t, functiontest.Created(t, items...), 1)))
			assert.Equal(t, []string{c.want}, outboxtest.Types(outboxtest.Drain(t, f.DB)))
			assert.Equal(t, c.left, levelOf(t, f.DB, "A"))
		})
	}
	t.Run("of as many SKUs as there are lines", func(t *testing.T) {
		f := functiontest.Start(t, New(), nil)
		items := make([]events.Item, events.MaxLines)
		for i := range items {
			items[i] = events.Item{SKU: strings.Repeat("S", 60) + strconv.Itoa(1000+i), Quantity: 1, UnitPrice: 1}
			stock(t, f.DB, items[i].SKU, 1)
		}
		require.NoError(t, f.Handle(t.Context(), functiontest.Event(t, functiontest.Created(t, items...), 1)))
		assert.Equal(t, []string{events.InventoryReservedType}, outboxtest.Types(outboxtest.Drain(t, f.DB)))
		assert.Zero(t, mysqltest.Count(t, f.DB, "SELECT SUM(available_qty) FROM inventory"))
	})
}

func TestReserveIgnoresRedelivery(t *testing.T) {
	for name, available := range map[string]int{"of what was reserved": 10, "of what was rejected": 1} {
		t.Run(name+" in a row", func(t *testing.T) {
			f := functiontest.Start(t, New(), nil)
			stock(t, f.DB, "A", available)
			e := functiontest.Event(t, functiontest.Created(t, events.Item{SKU: "A", Quantity: 2, UnitPrice: 7}), 1)
			require.NoError(t, f.Handle(t.Context(), e))
			after := levelOf(t, f.DB, "A")
			_, err := f.DB.ExecContext(t.Context(), "UPDATE inventory SET available_qty = available_qty + 5")
			require.NoError(t, err)
			after.available += 5

			require.NoError(t, f.Handle(t.Context(), e))

			assert.Equal(t, after, levelOf(t, f.DB, "A"))
			assert.Len(t, outboxtest.Drain(t, f.DB), 1)
		})
		t.Run(name+" at the same time", func(t *testing.T) {
			f := functiontest.Start(t, New(), nil)
			stock(t, f.DB, "A", available)
			e := functiontest.Event(t, functiontest.Created(t, events.Item{SKU: "A", Quantity: 2, UnitPrice: 7}), 1)
			functiontest.Concurrently(10, func(int) { assert.NoError(t, f.Handle(t.Context(), e)) })
			assert.Len(t, outboxtest.Drain(t, f.DB), 1)
			assert.Equal(t, available/10*2, reserved(t, f.DB, "A"))
			assert.Equal(t, 1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM inbox"))
		})
	}
}

func TestReserveIgnoresTheSameFactUnderAnotherID(t *testing.T) {
	f := functiontest.Start(t, New(), nil)
	stock(t, f.DB, "A", 10)
	order := functiontest.Created(t, events.Item{SKU: "A", Quantity: 2, UnitPrice: 7})
	again := make([]event.Event, 10)
	for i := range again {
		again[i] = functiontest.Event(t, order, i+1)
	}

	functiontest.Concurrently(len(again), func(i int) { assert.NoError(t, f.Handle(t.Context(), again[i])) })

	assert.Equal(t, level{8, 2}, levelOf(t, f.DB, "A"))
	assert.Len(t, outboxtest.Drain(t, f.DB), 1)
	assert.Equal(t, len(again), mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM inbox"))
}

func TestReserveRefusesMalformedEvents(t *testing.T) {
	f := functiontest.Start(t, New(), nil)
	stock(t, f.DB, "A", 10)
	order := functiontest.Created(t, events.Item{SKU: "A", Quantity: 2, UnitPrice: 7})
	replaced := func(from, to string) func(*event.Event) {
		return func(e *event.Event) {
			data := strings.Replace(string(e.Data()), from, to, 1)
			require.NotEqual(t, string(e.Data()), data)
			e.DataEncoded = []byte(data)
		}
	}
	for name, broken := range map[string]func(*event.Event){
		"broken JSON":        func(e *event.Event) { *e = functiontest.Broken(*e) },
		"no data":            func(e *event.Event) { e.DataEncoded = nil },
		"another type":       func(e *event.Event) { e.SetType(events.OrderCanceledType) },
		"type in the data":   replaced(events.OrderCreatedType, events.OrderCanceledType),
		"an unknown version": replaced(`"version":2`, `"version":3`),
		"an older version":   replaced(`"version":2`, `"version":1`), // which has no currency
		"no version":         replaced(`"version":2,`, ``),
		"an unknown field":   replaced(`"version":2`, `"version":2,"coupon":"X"`),
		"no units":           replaced(`"quantity":2`, `"quantity":0`),
		"units as a text":    replaced(`"quantity":2`, `"quantity":"2"`),
		"too many units":     replaced(`"quantity":2`, `"quantity":1000001`),
		"a bad SKU":          replaced(`"sku":"A"`, `"sku":"a b"`),
		"another total":      replaced(`"totalAmount":14`, `"totalAmount":15`),
		"no lines":           replaced(`[{"sku":"A","quantity":2,"unitPrice":7}]`, `[]`),
		"another subject":    func(e *event.Event) { e.SetSubject(functiontest.OrderID()) },
		"an id too long":     func(e *event.Event) { e.SetID(strings.Repeat("i", 129)) },
		"another source":     func(e *event.Event) { e.SetSource(events.InventorySource) },
		"another media type": func(e *event.Event) { e.SetDataContentType("text/plain") },
		"another schema":     func(e *event.Event) { e.SetDataSchema("https://example.com/other") },
	} {
		t.Run(name, func(t *testing.T) {
			e := functiontest.Event(t, order, 1)
			broken(&e)
			functiontest.AssertPoison(t, f.Handle(t.Context(), e))
		})
	}
	assert.Equal(t, level{10, 0}, levelOf(t, f.DB, "A"))
	assert.Zero(t, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM inbox"))
	assert.Zero(t, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM reservations"))
	assert.Empty(t, outboxtest.Drain(t, f.DB))
}

func TestReserveIsTriedAgainWhenItCannotBeDoneNow(t *testing.T) {
	e := functiontest.Event(t, functiontest.Created(t, events.Item{SKU: "A", Quantity: 2, UnitPrice: 7}), 1)
	t.Run("since it has not started", func(t *testing.T) { functiontest.AssertRetried(t, New().Handle(t.Context(), e)) })
	t.Run("since the database failed in the middle, and leaves nothing behind", func(t *testing.T) {
		f := functiontest.Start(t, New(), nil)
		stock(t, f.DB, "A", 10)
		_, err := f.DB.ExecContext(t.Context(), "RENAME TABLE outbox TO away")
		require.NoError(t, err)
		functiontest.AssertRetried(t, f.Handle(t.Context(), e))
		assert.Equal(t, level{10, 0}, levelOf(t, f.DB, "A"))
		_, err = f.DB.ExecContext(t.Context(), "RENAME TABLE away TO outbox")
		require.NoError(t, err)

		require.NoError(t, f.Handle(t.Context(), e))
		assert.Equal(t, level{8, 2}, levelOf(t, f.DB, "A"))
		assert.Len(t, outboxtest.Drain(t, f.DB), 1)
	})
}
