package finalizeorder

import (
	"database/sql"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/functiontest"
	"example.com/orders/functions/internal/mysqltest"
	"example.com/orders/functions/internal/outboxtest"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/schema"
)

// quiet starts the function on db, or on a schema of its own, without a log.
func quiet(t *testing.T, db *sql.DB) *Function {
	t.Helper()
	f := New()
	f.DB, f.Log = db, slog.New(slog.DiscardHandler)
	return functiontest.Start(t, f, nil)
}

// pending stores n pending orders and returns their ids.
func pending(t *testing.T, db *sql.DB, n int) []string {
	t.Helper()
	ids := make([]string, n)
	for i := range ids {
		ids[i] = functiontest.OrderID()
		functiontest.Order(t, db, ids[i], orders.OrdersStatusPENDING)
	}
	return ids
}

// state is all that the function has written.
func state(t *testing.T, db *sql.DB) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for table, query := range map[string]string{
		"orders": "SELECT id, status, version, failure_reason, updated_at FROM orders ORDER BY id",
		"inbox":  "SELECT event_id, consumer, source, processed_at FROM inbox ORDER BY event_id, consumer, source",
		"outbox": "SELECT aggregate_id, shard, aggregate_type, type, payload, headers, created_at FROM outbox ORDER BY aggregate_id, id",
	} {
		all[table] = mysqltest.Rows(t, db, query)
	}
	return all
}

func TestAGroupEndsAsItsEventsOneByOne(t *testing.T) {
	news := map[string]func(id string, n int) event.Event{
		"reserved": func(id string, n int) event.Event {
			return functiontest.Event(t, events.InventoryReserved{OrderID: id, Reservations: []events.Quantity{{SKU: "A", Quantity: 2}}}, n)
		},
		"out of stock": func(id string, n int) event.Event {
			return functiontest.Event(t, events.InventoryRejected{OrderID: id, Reason: events.ReasonOutOfStock, Shortages: shortages, CreatedAt: time.Now()}, n)
		},
		"unknown SKU": func(id string, n int) event.Event {
			return functiontest.Event(t, events.InventoryRejected{OrderID: id, Reason: events.ReasonUnknownSKU, Shortages: shortages, CreatedAt: time.Now()}, n)
		},
	}
	kinds := [][]string{{"reserved"}, {"out of stock", "unknown SKU"}}
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			grouped, single := quiet(t, nil), quiet(t, nil)
			now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
			ids := make([]string, 120)
			for i := range ids {
				ids[i] = functiontest.OrderID()
			}
			for _, f := range []*Function{grouped, single} {
				f.Now = func() time.Time { return now }
				for i, id := range ids {
					status := []orders.OrdersStatus{orders.OrdersStatusPENDING, orders.OrdersStatusPENDING, orders.OrdersStatusPENDING, orders.OrdersStatusCONFIRMED, orders.OrdersStatusFAILED, orders.OrdersStatusCANCELED}[i%6]
					functiontest.Order(t, f.DB, id, status)
				}
				_, err := f.DB.ExecContext(t.Context(), "UPDATE orders SET updated_at = ?", now)
				require.NoError(t, err)
			}
			random := rand.New(rand.NewPCG(seed, 7))
			together, alone := 0, 0
			past := map[int][]event.Event{}
			for round := range 14 {
				now = now.Add(time.Second)
				var group []event.Event
				for range 1 + random.IntN(20) {
					names := kinds[round%2]
					e := news[names[random.IntN(len(names))]](ids[random.IntN(len(ids))], 1)
					switch kind := random.IntN(12); {
					case kind == 0 && len(past[round%2]) > 0:
						e = past[round%2][random.IntN(len(past[round%2]))]
					case kind == 1 && len(group) > 0:
						e = group[random.IntN(len(group))]
					case kind == 2:
						e = news[names[0]](ids[random.IntN(len(ids))], 2)
					case kind == 3:
						e = functiontest.Broken(e)
					case kind == 4:
						e.SetType(events.OrderCanceledType)
					case kind == 5 && round%4 > 1:
						e = news[names[0]](functiontest.OrderID(), 1) // an order that there is not
					}
					group = append(group, e)
				}
				past[round%2] = append(past[round%2], group...)
				answers, left := functiontest.Together(t.Context(), grouped, group)
				if left == 0 {
					together++
				}
				alone += left
				want := make([]error, len(group))
				for i, e := range group {
					want[i] = single.Handle(t.Context(), e)
				}
				assert.Equal(t, functiontest.Statuses(want), functiontest.Statuses(answers))
			}
			assert.Equal(t, state(t, single.DB), state(t, grouped.DB))
			assert.Positive(t, together)
			assert.Positive(t, alone)
		})
	}
}

func TestOfAGroupOnlyTheOrderThatThereIsNotIsPoison(t *testing.T) {
	f := quiet(t, nil)
	ids := pending(t, f.DB, 3)
	group := []event.Event{reserved(t, ids[0]), reserved(t, functiontest.OrderID()), reserved(t, ids[1]), reserved(t, ids[2])}

	answers, alone := functiontest.Together(t.Context(), f, group)

	assert.Equal(t, []int{200, 422, 200, 200}, functiontest.Statuses(answers))
	assert.Equal(t, len(group), alone)
	assert.Equal(t, 3, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders WHERE status = 'CONFIRMED'"))
	assert.Len(t, outboxtest.Drain(t, f.DB), 3)
}

func TestACommitOfAGroupThatIsLostIsNoSecondEffect(t *testing.T) {
	for name, c := range map[string]struct{ before, after int32 }{"before it": {2, 0}, "after it": {0, 1}} {
		t.Run(name, func(t *testing.T) {
			db, loss := mysqltest.Lossy(t, mysqltest.Server(t), schema.Orders)
			f := quiet(t, db)
			var group []event.Event
			for _, id := range pending(t, db, 4) {
				group = append(group, reserved(t, id))
			}
			loss.Before.Store(c.before)
			loss.After.Store(c.after)
			for range 2 {
				answers, alone := functiontest.Together(t.Context(), f, group)
				assert.Equal(t, []int{200, 200, 200, 200}, functiontest.Statuses(answers))
				assert.Zero(t, alone)
			}
			assert.Equal(t, 4, mysqltest.Count(t, db, "SELECT COUNT(*) FROM orders WHERE status = 'CONFIRMED' AND version = 2"))
			assert.Len(t, outboxtest.Drain(t, db), 4)
		})
	}
}

func TestAGroupTakesAsManyStatementsAsAFewEvents(t *testing.T) {
	f := quiet(t, nil)
	var group []event.Event
	for _, id := range pending(t, f.DB, 64) {
		group = append(group, reserved(t, id))
	}
	n := mysqltest.Statements(t, f.DB, func() {
		_, alone := functiontest.Together(t.Context(), f, group)
		assert.Zero(t, alone)
	})
	assert.LessOrEqual(t, n, 10)
	assert.Equal(t, 64, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders WHERE status = 'CONFIRMED'"))
}

func TestStatementsOfAGroupFindTheirRowsByThePrimaryKey(t *testing.T) {
	for size, n := range map[string]int{"few rows": 3, "many rows": 400} {
		t.Run(size, func(t *testing.T) {
			db := mysqltest.Open(t, schema.Orders)
			ids := pending(t, db, n)
			mysqltest.Rows(t, db, "ANALYZE TABLE orders")
			p := mysqltest.NewPlanner(t, db)
			q := orders.New(p)
			for name, run := range map[string]func() error{
				"LockOrders": func() error { _, err := q.LockOrders(t.Context(), ids[:2]); return err },
				"SetStatuses": func() error {
					return q.SetStatuses(t.Context(), orders.SetStatusesParams{Status: orders.OrdersStatusCONFIRMED, UpdatedAt: time.Now(), Ids: ids[:2]})
				},
			} {
				require.NoError(t, run(), name)
				require.Len(t, p.Lookups, 1, name)
				assert.Equal(t, "PRIMARY", p.Lookups[0].Index, "%s: %v", name, p.Lookups)
				assert.Equal(t, "range", p.Lookups[0].Access, "%s: %v", name, p.Lookups)
			}
		})
	}
}
