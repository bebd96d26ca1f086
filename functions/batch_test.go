package functions_test

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/cancelorder"
	"example.com/orders/functions/expireorders"
	"example.com/orders/functions/finalizeorder"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/schema"
)

// shuffled returns a copy in an order that the seed reproduces.
func shuffled(es []event.Event, seed int) []event.Event {
	es = slices.Clone(es)
	rand.New(rand.NewPCG(7, uint64(seed))).Shuffle(len(es), func(i, j int) { es[i], es[j] = es[j], es[i] })
	return es
}

// Batches with shared events and SKUs in every order, single deliveries of the same events, releases of a third of the
// orders, and restocking run at once: deadlocks and lock waits are retried inside, and the logs account for every unit.
func TestBatchesOfReservationsMeetSinglesReleasesAndRestocking(t *testing.T) {
	w := openWarehouse(t)
	skus := []string{"A", "B", "C", "D"}
	for i, sku := range skus {
		w.set(t, sku, 40+40*i)
	}
	all := make([]event.Event, 120)
	for i := range all {
		one := func(n int) events.Item { return events.Item{SKU: skus[n%len(skus)], Quantity: 1, UnitPrice: 1} }
		all[i] = functiontest.Event(t, functiontest.Created(t, one(i), one(i/2+1), one(i/3+2)), 1)
	}

	functiontest.Concurrently(10, func(n int) {
		mixed := shuffled(all, n)
		switch n {
		case 0, 1, 2, 3, 4:
			for part := range slices.Chunk(mixed, 40) {
				for _, err := range functiontest.Together(t.Context(), w.reserve, part...) {
					assert.NoError(t, err)
				}
			}
		case 5, 6:
			for _, e := range mixed[:60] {
				assert.NoError(t, w.reserve.Handle(t.Context(), e))
			}
		case 7, 8:
			for i := 0; i < len(all); i += 3 {
				by := []string{events.OrderCanceledType, events.OrderFailedType}[n-7]
				assert.NoError(t, w.release.Handle(t.Context(), ended(t, all[i].Subject(), by)))
			}
		case 9:
			for i := range 30 {
				path := fmt.Sprintf("/api/inventory/%s/adjustments", skus[i%len(skus)])
				assert.Equal(t, http.StatusOK, w.send(t.Context(), http.MethodPost, path, `{"delta":1,"reason":"delivery"}`))
			}
		}
	})

	for _, sku := range skus {
		w.assertExplained(t, sku)
	}
	assert.Equal(t, len(all), mysqltest.Count(t, w.db, "SELECT COUNT(*) FROM reservations"))
	for i := 0; i < len(all); i += 3 {
		status := mysqltest.Rows(t, w.db, "SELECT status FROM reservations WHERE order_id = ?", all[i].Subject())
		assert.Contains(t, []string{"RELEASED", "REJECTED"}, status[0], "what was to be released holds nothing")
	}
	for what, query := range map[string]string{
		"a decision an order at most": "SELECT COUNT(*) FROM (SELECT aggregate_id FROM outbox WHERE type IN ('inventory.reserved', 'inventory.rejected') GROUP BY aggregate_id HAVING COUNT(*) > 1) d",
		"a release an order at most":  "SELECT COUNT(*) FROM (SELECT aggregate_id FROM outbox WHERE type = 'inventory.released' GROUP BY aggregate_id HAVING COUNT(*) > 1) d",
	} {
		assert.Zero(t, mysqltest.Count(t, w.db, query), what)
	}
}

// Batches of confirmations and failures, single events, cancellations and expiries of the same orders run at once: each
// order ends once, and emits each fact once.
func TestBatchesOfEndsMeetSinglesCancelsAndExpiries(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	finalize, cancel, expire := finalizeorder.New(), cancelorder.New(), expireorders.New()
	expire.Timeout = time.Nanosecond
	for _, f := range []functiontest.Function{finalize, cancel, expire} {
		f.Shared().DB, f.Shared().Log = db, slog.New(slog.DiscardHandler)
		functiontest.Start(t, f, nil)
	}
	var reserved, rejected []event.Event
	for i := range 120 {
		id := functiontest.OrderID()
		functiontest.Order(t, db, id, orders.OrdersStatusPENDING)
		reserved = append(reserved, functiontest.Event(t, events.InventoryReserved{OrderID: id, Reservations: []events.Quantity{{SKU: "SKU-123", Quantity: 2}}}, 1))
		if i%3 == 0 {
			rejected = append(rejected, functiontest.Event(t, events.InventoryRejected{
				OrderID: id, Reason: events.ReasonOutOfStock, Shortages: []events.Shortage{{SKU: "SKU-123", Requested: 2, Available: 1}}, CreatedAt: time.Now(),
			}, 1))
		}
	}
	tick := event.New()
	tick.SetID("tick-1")
	tick.SetSource("/ping")
	tick.SetType(base.TickType)

	functiontest.Concurrently(8, func(n int) {
		switch n {
		case 0, 1, 2:
			for part := range slices.Chunk(append(shuffled(reserved, n), shuffled(rejected, n)...), 64) {
				for _, err := range functiontest.Together(t.Context(), finalize, part...) {
					assert.NoError(t, err)
				}
			}
		case 3:
			for _, e := range shuffled(rejected, n) {
				assert.NoError(t, finalize.Handle(t.Context(), e))
			}
		case 4:
			for _, e := range shuffled(reserved, n) {
				assert.NoError(t, finalize.Handle(t.Context(), e))
			}
		case 5, 6:
			for _, e := range shuffled(reserved, n)[:60] {
				_, err := cancel.Cancel(t.Context(), e.Subject(), events.Cause{CorrelationID: "flow-1"})
				if err != nil {
					assert.ErrorIs(t, err, cancelorder.ErrFailed)
				}
			}
		case 7:
			assert.NoError(t, expire.Handle(t.Context(), tick))
		}
	})

	assert.Zero(t, mysqltest.Count(t, db, "SELECT COUNT(*) FROM orders WHERE status = 'PENDING'"))
	for _, e := range reserved {
		row := functiontest.Stored(t, db, e.Subject())
		facts := mysqltest.Rows(t, db, "SELECT type FROM outbox WHERE aggregate_id = ? ORDER BY id", row.ID)
		require.Len(t, facts, row.Version-1, "%v", facts)
		want := map[orders.OrdersStatus][][]string{
			orders.OrdersStatusCONFIRMED: {{events.OrderConfirmedType}},
			orders.OrdersStatusFAILED:    {{events.OrderFailedType}},
			orders.OrdersStatusCANCELED:  {{events.OrderCanceledType}, {events.OrderConfirmedType, events.OrderCanceledType}},
		}
		assert.Contains(t, want[row.Status], facts)
	}
}
