package reservestock

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
	"example.com/orders/functions/internal/delivery"
	"example.com/orders/functions/internal/functiontest"
	"example.com/orders/functions/internal/mysqltest"
	"example.com/orders/functions/internal/outboxtest"
	"example.com/orders/sql/inventory"
	"example.com/orders/sql/messaging"
	"example.com/orders/sql/schema"
)

// quiet starts the function on db, or on a schema of its own, without a log.
func quiet(t *testing.T, db *sql.DB) *Function {
	t.Helper()
	f := New()
	f.DB, f.Log = db, slog.New(slog.DiscardHandler)
	return functiontest.Start(t, f, nil)
}

// state is all that the function has written.
func state(t *testing.T, db *sql.DB) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for table, query := range map[string]string{
		"inventory":       "SELECT sku, available_qty, reserved_qty, version, updated_at FROM inventory ORDER BY sku",
		"reservations":    "SELECT order_id, status, version, created_at, updated_at FROM reservations ORDER BY order_id",
		"reservation_log": "SELECT event_id, sku, source, order_id, delta_reserved, status, created_at FROM reservation_log ORDER BY event_id, sku, source",
		"inbox":           "SELECT event_id, consumer, source, processed_at FROM inbox ORDER BY event_id, consumer, source",
		"outbox":          "SELECT aggregate_id, shard, aggregate_type, type, payload, headers, created_at FROM outbox ORDER BY aggregate_id, id",
	} {
		all[table] = mysqltest.Rows(t, db, query)
	}
	return all
}

// stream makes events as they come to the function, of all kinds.
type stream struct {
	t      *testing.T
	random *rand.Rand
	past   []event.Event
	orders []events.OrderCreated
}

func (s *stream) fresh() event.Event {
	skus := []string{"A", "B", "C", "D", "E", "Z"} // of Z there is none
	items := make([]events.Item, 1+s.random.IntN(3))
	for i := range items {
		items[i] = events.Item{SKU: skus[s.random.IntN(len(skus)-s.random.IntN(2))], Quantity: 1 + s.random.Int64N(4), UnitPrice: 1}
	}
	order := functiontest.Created(s.t, items...)
	s.orders = append(s.orders, order)
	return functiontest.Event(s.t, order, 1)
}

func (s *stream) group(size int) (group []event.Event) {
	for range size {
		e := s.fresh()
		switch kind := s.random.IntN(10); {
		case kind == 0 && len(s.past) > 0:
			e = s.past[s.random.IntN(len(s.past))]
		case kind == 1 && len(group) > 0:
			e = group[s.random.IntN(len(group))]
		case kind == 2:
			e = functiontest.Event(s.t, s.orders[s.random.IntN(len(s.orders))], 2+s.random.IntN(3))
		case kind == 3:
			e = functiontest.Broken(e)
		case kind == 4:
			e.SetType(events.OrderCanceledType)
		}
		group = append(group, e)
	}
	s.past = append(s.past, group...)
	return group
}

func TestAGroupEndsAsItsEventsOneByOne(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			server := mysqltest.Server(t)
			grouped := quiet(t, mysqltest.Pool(t, server, schema.Inventory))
			single := quiet(t, mysqltest.Open(t, schema.Inventory))
			now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
			for _, f := range []*Function{grouped, single} {
				f.Now = func() time.Time { return now }
				for sku, units := range map[string]int{"A": 20, "B": 10, "C": 40, "D": 1, "E": 0} {
					stock(t, f.DB, sku, units)
				}
			}
			_, err := grouped.DB.ExecContext(t.Context(), "UPDATE inventory SET updated_at = ?", now)
			require.NoError(t, err)
			_, err = single.DB.ExecContext(t.Context(), "UPDATE inventory SET updated_at = ?", now)
			require.NoError(t, err)
			s := &stream{t: t, random: rand.New(rand.NewPCG(seed, 7))}
			for range 12 {
				now = now.Add(time.Second)
				group := s.group(1 + s.random.IntN(24))
				answers, alone := functiontest.Together(t.Context(), grouped, group)
				if len(group) > 1 { // a single one is taken to be new, and done again if it is not
					assert.Zero(t, alone)
				}
				want := make([]error, len(group))
				for i, e := range group {
					want[i] = single.Handle(t.Context(), e)
				}
				assert.Equal(t, functiontest.Statuses(want), functiontest.Statuses(answers))
			}
			assert.Equal(t, state(t, single.DB), state(t, grouped.DB))
		})
	}
}

func TestOfAGroupOnlyTheEventThatFailsIsTriedAgain(t *testing.T) {
	f := quiet(t, nil)
	stock(t, f.DB, "A", 100)
	var group []event.Event
	for range 5 {
		group = append(group, functiontest.Event(t, functiontest.Created(t, events.Item{SKU: "A", Quantity: 2, UnitPrice: 1}), 1))
	}
	// A line of the log that is in the way of the third.
	require.NoError(t, inventory.New(f.DB).InsertReservationLog(t.Context(), inventory.InsertReservationLogParams{
		Source: group[2].Source(), EventID: group[2].ID(), Sku: "A", OrderID: functiontest.OrderID(),
		Status: inventory.ReservationLogStatusREJECTED, CreatedAt: time.Now(),
	}))

	answers, alone := functiontest.Together(t.Context(), f, group)

	assert.Equal(t, []int{200, 200, 503, 200, 200}, functiontest.Statuses(answers))
	assert.Equal(t, len(group), alone)
	assert.Equal(t, level{92, 8}, levelOf(t, f.DB, "A"))
	assert.Len(t, outboxtest.Drain(t, f.DB), 4)
	assert.Equal(t, 4, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM inbox"))
}

func TestAGroupLeavesARowThatIsHeldToItsOwnDelivery(t *testing.T) {
	f := quiet(t, nil)
	stock(t, f.DB, "A", 100)
	var group []event.Event
	for range 3 {
		group = append(group, functiontest.Event(t, functiontest.Created(t, events.Item{SKU: "A", Quantity: 2, UnitPrice: 1}), 1))
	}
	holder, err := f.DB.BeginTx(t.Context(), schema.ReadCommitted)
	require.NoError(t, err)
	_, err = inventory.New(holder).OpenReservation(t.Context(), inventory.OpenReservationParams{
		OrderID: group[1].Subject(), CreatedAt: time.Now(), UpdatedAt: time.Now(),
	})
	require.NoError(t, err)

	for _, err := range f.HandleBatch(t.Context(), group) {
		assert.ErrorIs(t, err, delivery.ErrAlone)
	}
	require.NoError(t, f.Handle(t.Context(), group[0]), "nothing is held for the others any more")
	require.NoError(t, f.Handle(t.Context(), group[2]))
	require.NoError(t, holder.Rollback())
	require.NoError(t, f.Handle(t.Context(), group[1]))
	assert.Equal(t, level{94, 6}, levelOf(t, f.DB, "A"))
}

func TestACommitOfAGroupThatIsLostIsNoSecondEffect(t *testing.T) {
	for name, c := range map[string]struct{ before, after int32 }{
		"before it": {before: 2}, "after it": {after: 1}, "before and after it": {1, 1},
		"before it until the group is given up": {before: 8},
	} {
		t.Run(name, func(t *testing.T) {
			db, loss := mysqltest.Lossy(t, mysqltest.Server(t), schema.Inventory)
			f := quiet(t, db)
			stock(t, f.DB, "A", 6)
			var group []event.Event
			for range 5 {
				group = append(group, functiontest.Event(t, functiontest.Created(t, events.Item{SKU: "A", Quantity: 2, UnitPrice: 1}), 1))
			}
			loss.Before.Store(c.before)
			loss.After.Store(c.after)

			for range 2 { // and again, as after a crash before the offset
				answers, alone := functiontest.Together(t.Context(), f, group)
				assert.Equal(t, []int{200, 200, 200, 200, 200}, functiontest.Statuses(answers))
				if alone > 0 {
					assert.Equal(t, "before it until the group is given up", name)
				}
			}

			assert.Equal(t, level{0, 6}, levelOf(t, f.DB, "A"))
			assert.Equal(t, 6, reserved(t, f.DB, "A"))
			assert.Len(t, outboxtest.Drain(t, f.DB), 5)
			assert.Equal(t, 5, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM inbox"))
		})
	}
}

func TestGroupsSellWhatThereIsAndNoMore(t *testing.T) {
	f := quiet(t, nil)
	had := map[string]int{"A": 50, "B": 70, "C": 5}
	for sku, units := range had {
		stock(t, f.DB, sku, units)
	}
	one := func(sku string) events.Item { return events.Item{SKU: sku, Quantity: 1, UnitPrice: 1} }
	kinds := [][]events.Item{{one("A")}, {one("B"), one("A")}, {one("A"), one("B")}, {one("B")}, {one("C"), one("B")}}
	const placed, each = 1000, 50
	all := make([]event.Event, placed)
	for i := range all {
		all[i] = functiontest.Event(t, functiontest.Created(t, kinds[i%len(kinds)]...), 1)
	}

	functiontest.Concurrently(placed/each, func(i int) {
		answers, _ := functiontest.Together(t.Context(), f, all[i*each:(i+1)*each])
		for _, err := range answers {
			assert.NoError(t, err)
		}
	})

	for sku, units := range had {
		l := levelOf(t, f.DB, sku)
		assert.Equal(t, units, l.available+l.reserved, sku)
		assert.GreaterOrEqual(t, l.available, 0, sku)
		assert.Equal(t, l.reserved, reserved(t, f.DB, sku), sku)
	}
	assert.Equal(t, level{0, 50}, levelOf(t, f.DB, "A"))
	assert.Equal(t, placed, mysqltest.Count(t, f.DB, "SELECT COUNT(DISTINCT aggregate_id) FROM outbox"))
	assert.Equal(t, placed, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM outbox"))
}

// A statement for each event would be 64 at least.
func TestAGroupTakesAsManyStatementsAsAFewEvents(t *testing.T) {
	f := quiet(t, nil)
	stock(t, f.DB, "A", 30)
	stock(t, f.DB, "B", 1000)
	group := make([]event.Event, 64)
	for i := range group {
		group[i] = functiontest.Event(t, functiontest.Created(t, events.Item{SKU: "A", Quantity: 1, UnitPrice: 1}, events.Item{SKU: "B", Quantity: 1, UnitPrice: 1}), 1)
	}
	n := mysqltest.Statements(t, f.DB, func() {
		_, alone := functiontest.Together(t.Context(), f, group)
		assert.Zero(t, alone)
	})
	assert.LessOrEqual(t, n, 16)
	assert.Equal(t, level{0, 30}, levelOf(t, f.DB, "A"))
}

func TestStatementsOfAGroupFindTheirRowsByThePrimaryKey(t *testing.T) {
	for size, n := range map[string]int{"few rows": 3, "many rows": 3000} {
		t.Run(size, func(t *testing.T) {
			db := mysqltest.Open(t, schema.Inventory)
			ids, skus := make([]string, n), make([]inventory.SetLevelParams, n)
			reservations := make([]inventory.InsertReservationParams, n)
			inbox := make([]messaging.InsertNewlyHandledParams, n)
			for i := range n {
				ids[i] = functiontest.OrderID()
				skus[i] = inventory.SetLevelParams{Sku: fmt.Sprint("SKU-", i), UpdatedAt: time.Now()}
				reservations[i] = inventory.InsertReservationParams{OrderID: ids[i], CreatedAt: time.Now(), UpdatedAt: time.Now()}
				inbox[i] = messaging.InsertNewlyHandledParams{Consumer: "reserve-stock", Source: "/orders", EventID: ids[i] + "#1", ProcessedAt: time.Now()}
			}
			require.NoError(t, inventory.New(db).SetLevels(t.Context(), skus))
			require.NoError(t, inventory.New(db).InsertReservations(t.Context(), reservations))
			require.NoError(t, messaging.New(db).InsertAllHandled(t.Context(), inbox))
			for _, table := range []string{"inventory", "reservations", "inbox"} {
				mysqltest.Rows(t, db, "ANALYZE TABLE "+table)
			}
			p := mysqltest.NewPlanner(t, db)
			q := inventory.New(p)
			for name, run := range map[string]func() error{
				"LockStocks":       func() error { _, err := q.LockStocks(t.Context(), []string{"SKU-0", "SKU-2", "Z"}); return err },
				"LockReservations": func() error { _, err := q.LockReservations(t.Context(), ids[:2]); return err },
				"SetFirstReservations": func() error {
					return q.SetFirstReservations(t.Context(), inventory.SetFirstReservationsParams{
						Status: inventory.ReservationsStatusRESERVED, UpdatedAt: time.Now(), OrderIds: ids[:2],
					})
				},
			} {
				require.NoError(t, run(), name)
				require.Len(t, p.Lookups, 1, name)
				assert.Equal(t, "PRIMARY", p.Lookups[0].Index, "%s: %v", name, p.Lookups)
				assert.Equal(t, "range", p.Lookups[0].Access, "%s: %v", name, p.Lookups)
			}
			if n > 1000 { // it locks nothing, so that a small table may be scanned
				_, err := messaging.New(p).ListHandled(t.Context(), messaging.ListHandledParams{EventIds: []string{ids[0] + "#1", ids[2] + "#1"}, Consumer: "reserve-stock"})
				require.NoError(t, err)
				require.Len(t, p.Lookups, 1)
				assert.Equal(t, "PRIMARY", p.Lookups[0].Index, p.Lookups)
				assert.Equal(t, "range", p.Lookups[0].Access, p.Lookups)
			}
		})
	}
}
