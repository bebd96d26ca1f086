package releasestock

import (
	"database/sql"
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
	"example.com/orders/sql/inventory"
)

// stock creates a SKU with available units and none reserved.
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

// reserve stores an order as reserve-stock leaves it: holding these units, or rejected without any.
func reserve(t *testing.T, db *sql.DB, orderID string, held ...events.Quantity) {
	t.Helper()
	q, now := inventory.New(db), time.Now()
	status := inventory.ReservationsStatusREJECTED
	for _, h := range held {
		status = inventory.ReservationsStatusRESERVED
		taken, err := db.ExecContext(t.Context(), "UPDATE inventory SET available_qty = available_qty - ?, reserved_qty = reserved_qty + ? WHERE sku = ?", h.Quantity, h.Quantity, h.SKU)
		require.NoError(t, err)
		affected, err := taken.RowsAffected()
		require.NoError(t, err)
		require.EqualValues(t, 1, affected)
		require.NoError(t, q.InsertReservationLog(t.Context(), inventory.InsertReservationLogParams{
			Source: events.OrdersSource, EventID: orderID + "#1", Sku: h.SKU, OrderID: orderID, DeltaReserved: h.Quantity,
			Status: inventory.ReservationLogStatusRESERVED, CreatedAt: now,
		}))
	}
	_, err := q.OpenReservation(t.Context(), inventory.OpenReservationParams{OrderID: orderID, CreatedAt: now, UpdatedAt: now})
	require.NoError(t, err)
	require.NoError(t, q.SetReservation(t.Context(), inventory.SetReservationParams{OrderID: orderID, Status: status, Version: 1, UpdatedAt: now}))
}

func statusOf(t *testing.T, db *sql.DB, orderID string) (status inventory.ReservationsStatus, version int) {
	t.Helper()
	row, err := inventory.New(db).LockReservation(t.Context(), orderID)
	require.NoError(t, err)
	return row.Status, row.Version
}

func canceled(t *testing.T, orderID string, n int) event.Event {
	t.Helper()
	return functiontest.Event(t, events.OrderCanceled{
		OrderID: orderID, CustomerEmail: "alice@example.com", PreviousStatus: events.StatusConfirmed, CreatedAt: time.Now(),
	}, n)
}

func failed(t *testing.T, orderID string, n int) event.Event {
	t.Helper()
	return functiontest.Event(t, events.OrderFailed{
		OrderID: orderID, CustomerEmail: "alice@example.com", Reason: events.ReasonTimeout, CreatedAt: time.Now(),
	}, n)
}

// ends has the facts that end an order without success, each with the reason for releasing its stock.
var ends = map[string]struct {
	fact   func(*testing.T, string, int) event.Event
	reason string
}{
	"canceled": {canceled, events.ReasonCanceled},
	"failed":   {failed, events.ReasonFailed},
}

func TestReleaseReturnsTheStockThatTheOrderHolds(t *testing.T) {
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			f := New()
			now := time.Date(2026, 11, 25, 12, 0, 0, 123456000, time.UTC)
			f.Now = func() time.Time { return now }
			var woken []string
			f.Poke = func(schema string, shards ...uint8) { woken = append(woken, schema); assert.Len(t, shards, 1) }
			functiontest.Start(t, f, nil)
			stock(t, f.DB, "A", 10)
			stock(t, f.DB, "B", 10)
			orderID, other := functiontest.OrderID(), functiontest.OrderID()
			reserve(t, f.DB, orderID, events.Quantity{SKU: "B", Quantity: 4}, events.Quantity{SKU: "A", Quantity: 2})
			reserve(t, f.DB, other, events.Quantity{SKU: "A", Quantity: 3})
			e := end.fact(t, orderID, 2)

			require.NoError(t, f.Handle(t.Context(), e))

			assert.Equal(t, level{7, 3}, levelOf(t, f.DB, "A"))
			assert.Equal(t, level{10, 0}, levelOf(t, f.DB, "B"))
			emitted := outboxtest.Drain(t, f.DB)
			require.Len(t, emitted, 1)
			fact, err := events.Decode[events.InventoryReleased](emitted[0])
			require.NoError(t, err)
			assert.Equal(t, events.InventoryReleased{
				OrderID: orderID, Releases: []events.Quantity{{SKU: "A", Quantity: 2}, {SKU: "B", Quantity: 4}}, Reason: end.reason, CreatedAt: now,
			}, fact)
			assert.Equal(t, orderID+"#2", emitted[0].ID())
			assert.Equal(t, functiontest.CorrelationID, emitted[0].Extensions()["correlationid"])
			assert.Equal(t, e.ID(), emitted[0].Extensions()["causationid"])
			assert.Equal(t, []string{"inventory"}, woken)
			status, version := statusOf(t, f.DB, orderID)
			assert.Equal(t, inventory.ReservationsStatusRELEASED, status)
			assert.Equal(t, 2, version)
			assert.Equal(t, 2, mysqltest.Count(t, f.DB,
				"SELECT COUNT(*) FROM reservation_log WHERE order_id = ? AND status = 'RELEASED' AND event_id = ? AND source = ? AND created_at = ?", orderID, e.ID(), e.Source(), now))
			assert.Zero(t, mysqltest.Count(t, f.DB, "SELECT SUM(delta_reserved) FROM reservation_log WHERE order_id = ?", orderID))
			status, _ = statusOf(t, f.DB, other)
			assert.Equal(t, inventory.ReservationsStatusRESERVED, status)
		})
	}
}

func TestReleaseIgnoresRedelivery(t *testing.T) {
	for name, end := range ends {
		t.Run(name+" in a row", func(t *testing.T) {
			f, orderID := functiontest.Start(t, New(), nil), functiontest.OrderID()
			stock(t, f.DB, "A", 10)
			reserve(t, f.DB, orderID, events.Quantity{SKU: "A", Quantity: 2})
			e := end.fact(t, orderID, 2)
			for range 3 {
				require.NoError(t, f.Handle(t.Context(), e))
			}
			assert.Equal(t, level{10, 0}, levelOf(t, f.DB, "A"))
			assert.Len(t, outboxtest.Drain(t, f.DB), 1)
		})
		t.Run(name+" at the same time", func(t *testing.T) {
			f, orderID := functiontest.Start(t, New(), nil), functiontest.OrderID()
			stock(t, f.DB, "A", 10)
			reserve(t, f.DB, orderID, events.Quantity{SKU: "A", Quantity: 2})
			e := end.fact(t, orderID, 2)
			functiontest.Concurrently(10, func(int) { assert.NoError(t, f.Handle(t.Context(), e)) })
			assert.Equal(t, level{10, 0}, levelOf(t, f.DB, "A"))
			assert.Len(t, outboxtest.Drain(t, f.DB), 1)
			assert.Equal(t, 1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM inbox"))
		})
	}
}

// Another order holds units of the SKU, which a second release would return.
func TestAnOrderThatEndsThreeTimesIsReleasedOnce(t *testing.T) {
	for name, do := range map[string]func(ends []event.Event, handle func(event.Event)){
		"in a row": func(ends []event.Event, handle func(event.Event)) {
			for _, e := range ends {
				handle(e)
			}
		},
		"at the same time": func(ends []event.Event, handle func(event.Event)) {
			functiontest.Concurrently(len(ends), func(i int) { handle(ends[i]) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, orderID := functiontest.Start(t, New(), nil), functiontest.OrderID()
			stock(t, f.DB, "A", 10)
			reserve(t, f.DB, orderID, events.Quantity{SKU: "A", Quantity: 2})
			reserve(t, f.DB, functiontest.OrderID(), events.Quantity{SKU: "A", Quantity: 5})
			do([]event.Event{canceled(t, orderID, 2), canceled(t, orderID, 3), failed(t, orderID, 4)}, func(e event.Event) {
				assert.NoError(t, f.Handle(t.Context(), e))
			})
			assert.Equal(t, level{5, 5}, levelOf(t, f.DB, "A"))
			assert.Len(t, outboxtest.Drain(t, f.DB), 1)
			assert.Equal(t, 3, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM inbox"))
			_, version := statusOf(t, f.DB, orderID)
			assert.Equal(t, 2, version)
		})
	}
}

func TestReleaseOfAnOrderWithoutStockEmitsNothing(t *testing.T) {
	for name, end := range ends {
		t.Run(name+" after a rejection", func(t *testing.T) {
			f, orderID := functiontest.Start(t, New(), nil), functiontest.OrderID()
			reserve(t, f.DB, orderID)
			require.NoError(t, f.Handle(t.Context(), end.fact(t, orderID, 2)))
			assert.Empty(t, outboxtest.Drain(t, f.DB))
			status, version := statusOf(t, f.DB, orderID)
			assert.Equal(t, inventory.ReservationsStatusREJECTED, status)
			assert.Equal(t, 1, version)
		})
		t.Run(name+" before the reservation, which then finds it", func(t *testing.T) {
			f, orderID := functiontest.Start(t, New(), nil), functiontest.OrderID()
			functiontest.Concurrently(5, func(i int) { assert.NoError(t, f.Handle(t.Context(), end.fact(t, orderID, 2+i))) })
			assert.Empty(t, outboxtest.Drain(t, f.DB))
			status, version := statusOf(t, f.DB, orderID)
			assert.Equal(t, inventory.ReservationsStatusRELEASED, status)
			assert.Zero(t, version, "no fact was emitted")
			assert.Zero(t, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM reservation_log"))
		})
	}
}

func TestReleaseRefusesMalformedEvents(t *testing.T) {
	f, orderID := functiontest.Start(t, New(), nil), functiontest.OrderID()
	stock(t, f.DB, "A", 10)
	reserve(t, f.DB, orderID, events.Quantity{SKU: "A", Quantity: 2})
	for name, broken := range map[string]func(*event.Event){
		"broken JSON": func(e *event.Event) { *e = functiontest.Broken(*e) },
		"no data":     func(e *event.Event) { e.DataEncoded = nil },
		"an unknown version": func(e *event.Event) {
			e.DataEncoded = []byte(strings.Replace(string(e.Data()), `"version":1`, `"version":2`, 1))
		},
		"an unknown field": func(e *event.Event) {
			e.DataEncoded = []byte(strings.Replace(string(e.Data()), `{`, `{"by":"bob",`, 1))
		},
		"another subject":  func(e *event.Event) { e.SetSubject(functiontest.OrderID()) },
		"another source":   func(e *event.Event) { e.SetSource(events.InventorySource) },
		"no event of ours": func(e *event.Event) { e.SetType("dev.knative.kafka.event") },
		"its own fact":     func(e *event.Event) { e.SetType(events.InventoryReleasedType) },
		"what it ignores":  func(e *event.Event) { e.SetType(events.OrderConfirmedType) },
	} {
		for kind, end := range ends {
			t.Run(kind+" with "+name, func(t *testing.T) {
				e := end.fact(t, orderID, 2)
				broken(&e)
				functiontest.AssertPoison(t, f.Handle(t.Context(), e))
			})
		}
	}
	assert.Equal(t, level{8, 2}, levelOf(t, f.DB, "A"))
	assert.Zero(t, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM inbox"))
	assert.Empty(t, outboxtest.Drain(t, f.DB))
}

func TestReleaseIsTriedAgainWhenItCannotBeDoneNow(t *testing.T) {
	orderID := functiontest.OrderID()
	e := canceled(t, orderID, 2)
	t.Run("since it has not started", func(t *testing.T) { functiontest.AssertRetried(t, New().Handle(t.Context(), e)) })
	t.Run("since the log and the level disagree, which a person must look at", func(t *testing.T) {
		f := functiontest.Start(t, New(), nil)
		stock(t, f.DB, "A", 10)
		reserve(t, f.DB, orderID, events.Quantity{SKU: "A", Quantity: 2})
		_, err := f.DB.ExecContext(t.Context(), "UPDATE inventory SET reserved_qty = 1")
		require.NoError(t, err)
		answer := f.Handle(t.Context(), e)
		functiontest.AssertRetried(t, answer)
		assert.ErrorContains(t, answer, "compare inventory with reservation_log")
		assert.Equal(t, level{8, 1}, levelOf(t, f.DB, "A"))
		status, _ := statusOf(t, f.DB, orderID)
		assert.Equal(t, inventory.ReservationsStatusRESERVED, status)
	})
}
