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
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/sql/inventory"
	"example.com/orders/sql/messaging"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/transaction"
)

// quiet starts the function on db, or on a new schema if db is nil, without a log.
func quiet(t *testing.T, db *sql.DB) *Function {
	t.Helper()
	f := New()
	f.DB, f.Log = db, slog.New(slog.DiscardHandler)
	return functiontest.Start(t, f, nil)
}

// state returns all rows that the function has written.
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

// stream generates events of all kinds that the function may receive.
type stream struct {
	t      *testing.T
	random *rand.Rand
	past   []event.Event
	orders []events.OrderCreated
}

func (s *stream) fresh() event.Event {
	skus := []string{"A", "B", "C", "D", "E", "Z"} // there is no Z
	items := make([]events.Item, 1+s.random.IntN(3))
	for i := range items {
		items[i] = events.Item{SKU: skus[s.random.IntN(len(skus)-s.random.IntN(2))], Quantity: 1 + s.random.Int64N(4), UnitPrice: 1}
	}
	order := functiontest.Created(s.t, items...)
	s.orders = append(s.orders, order)
	return functiontest.Event(s.t, order, 1)
}

func (s *stream) batch(size int) (batch []event.Event) {
	for range size {
		e := s.fresh()
		switch kind := s.random.IntN(10); {
		case kind == 0 && len(s.past) > 0:
			e = s.past[s.random.IntN(len(s.past))]
		case kind == 1 && len(batch) > 0:
			e = batch[s.random.IntN(len(batch))]
		case kind == 2:
			e = functiontest.Event(s.t, s.orders[s.random.IntN(len(s.orders))], 2+s.random.IntN(3))
		case kind == 3:
			e = functiontest.Broken(e)
		case kind == 4:
			e.SetType(events.OrderCanceledType)
		}
		batch = append(batch, e)
	}
	s.past = append(s.past, batch...)
	return batch
}

func TestABatchEndsAsItsEventsOneByOne(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			server := mysqltest.Server(t)
			batched := quiet(t, mysqltest.Pool(t, server, schema.Inventory))
			single := quiet(t, mysqltest.Open(t, schema.Inventory))
			now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
			for _, f := range []*Function{batched, single} {
				f.Now = func() time.Time { return now }
				for sku, units := range map[string]int{"A": 20, "B": 10, "C": 40, "D": 1, "E": 0} {
					stock(t, f.DB, sku, units)
				}
			}
			_, err := batched.DB.ExecContext(t.Context(), "UPDATE inventory SET updated_at = ?", now)
			require.NoError(t, err)
			_, err = single.DB.ExecContext(t.Context(), "UPDATE inventory SET updated_at = ?", now)
			require.NoError(t, err)
			s := &stream{t: t, random: rand.New(rand.NewPCG(seed, 7))}
			for range 12 {
				now = now.Add(time.Second)
				batch := s.batch(1 + s.random.IntN(24))
				answers := functiontest.Together(t.Context(), batched, batch...)
				want := make([]error, len(batch))
				for i, e := range batch {
					want[i] = single.Handle(t.Context(), e)
				}
				assert.Equal(t, functiontest.Statuses(want), functiontest.Statuses(answers))
			}
			assert.Equal(t, state(t, single.DB), state(t, batched.DB))
		})
	}
}

func TestOfABatchOnlyTheEventThatFailsIsTriedAgain(t *testing.T) {
	f := quiet(t, nil)
	stock(t, f.DB, "A", 100)
	var batch []event.Event
	for range 5 {
		batch = append(batch, functiontest.Event(t, functiontest.Created(t, events.Item{SKU: "A", Quantity: 2, UnitPrice: 1}), 1))
	}
	// This row of the log conflicts with the third event.
	require.NoError(t, inventory.New(f.DB).InsertReservationLog(t.Context(), inventory.InsertReservationLogParams{
		Source: batch[2].Source(), EventID: batch[2].ID(), Sku: "A", OrderID: functiontest.OrderID(),
		Status: inventory.ReservationLogStatusREJECTED, CreatedAt: time.Now(),
	}))

	answers := functiontest.Together(t.Context(), f, batch...)

	assert.Equal(t, []int{200, 200, 503, 200, 200}, functiontest.Statuses(answers))
	assert.Equal(t, level{92, 8}, levelOf(t, f.DB, "A"))
	assert.Len(t, outboxtest.Drain(t, f.DB), 4)
	assert.Equal(t, 4, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM inbox"))
}

func TestARowThatIsHeldHoldsUpItsOwnEvent(t *testing.T) {
	f := quiet(t, nil)
	stock(t, f.DB, "A", 100)
	var batch []event.Event
	for range 3 {
		batch = append(batch, functiontest.Event(t, functiontest.Created(t, events.Item{SKU: "A", Quantity: 2, UnitPrice: 1}), 1))
	}
	holder, err := f.DB.BeginTx(t.Context(), transaction.ReadCommitted)
	require.NoError(t, err)
	_, err = inventory.New(holder).OpenReservation(t.Context(), inventory.OpenReservationParams{
		OrderID: batch[1].Subject(), CreatedAt: time.Now(), UpdatedAt: time.Now(),
	})
	require.NoError(t, err)

	answered, first := make(chan int, len(batch)), true
	f.Shared().Submit(t.Context(), func(n int, err error) {
		assert.NoError(t, err)
		if answered <- n; first { // while it is retried alone, the others are no longer blocked
			first = false
			assert.NoError(t, holder.Rollback())
		}
	}, batch...)
	assert.Equal(t, []int{0, 1, 2}, []int{<-answered, <-answered, <-answered})
	assert.Equal(t, level{94, 6}, levelOf(t, f.DB, "A"))
}

func TestACommitOfABatchThatIsLostIsNoSecondEffect(t *testing.T) {
	for name, c := range map[string]struct{ before, after int32 }{
		"before it": {before: 2}, "after it": {after: 1}, "before and after it": {1, 1},
		"before it until the batch is given up": {before: 8},
	} {
		t.Run(name, func(t *testing.T) {
			db, loss := mysqltest.Lossy(t, mysqltest.Server(t), schema.Inventory)
			f := quiet(t, db)
			stock(t, f.DB, "A", 6)
			var batch []event.Event
			for range 5 {
				batch = append(batch, functiontest.Event(t, functiontest.Created(t, events.Item{SKU: "A", Quantity: 2, UnitPrice: 1}), 1))
			}
			loss.Before.Store(c.before)
			loss.After.Store(c.after)

			for range 2 { // the second time as after a crash before the offset commit
				answers := functiontest.Together(t.Context(), f, batch...)
				assert.Equal(t, []int{200, 200, 200, 200, 200}, functiontest.Statuses(answers))
			}

			assert.Equal(t, level{0, 6}, levelOf(t, f.DB, "A"))
			assert.Equal(t, 6, reserved(t, f.DB, "A"))
			assert.Len(t, outboxtest.Drain(t, f.DB), 5)
			assert.Equal(t, 5, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM inbox"))
		})
	}
}

func TestBatchesNeverOversell(t *testing.T) {
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
		for _, err := range functiontest.Together(t.Context(), f, all[i*each:(i+1)*each]...) {
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

// One statement per event would make at least 64.
func TestABatchTakesAsManyStatementsAsAFewEvents(t *testing.T) {
	f := quiet(t, nil)
	stock(t, f.DB, "A", 30)
	stock(t, f.DB, "B", 1000)
	batch := make([]event.Event, 64)
	for i := range batch {
		batch[i] = functiontest.Event(t, functiontest.Created(t, events.Item{SKU: "A", Quantity: 1, UnitPrice: 1}, events.Item{SKU: "B", Quantity: 1, UnitPrice: 1}), 1)
	}
	n := mysqltest.Statements(t, f.DB, func() {
		functiontest.Together(t.Context(), f, batch...)
	})
	assert.LessOrEqual(t, n, 16)
	assert.Equal(t, level{0, 30}, levelOf(t, f.DB, "A"))
}

func TestStatementsOfABatchFindTheirRowsByThePrimaryKey(t *testing.T) {
	for size, n := range map[string]int{"few rows": 3, "many rows": 3000} {
		t.Run(size, func(t *testing.T) {
			db := mysqltest.Open(t, schema.Inventory)
			ids, skus := make([]string, n), make([]inventory.SetLevelParams, n)
			reservations := make([]inventory.OpenReservationParams, n)
			inbox := make([]messaging.InsertHandledParams, n)
			for i := range n {
				ids[i] = functiontest.OrderID()
				skus[i] = inventory.SetLevelParams{Sku: fmt.Sprint("SKU-", i), UpdatedAt: time.Now()}
				reservations[i] = inventory.OpenReservationParams{OrderID: ids[i], CreatedAt: time.Now(), UpdatedAt: time.Now()}
				inbox[i] = messaging.InsertHandledParams{Consumer: "reserve-stock", Source: "/orders", EventID: ids[i] + "#1", ProcessedAt: time.Now()}
			}
			require.NoError(t, inventory.New(db).SetLevels(t.Context(), skus))
			require.NoError(t, inventory.New(db).OpenReservations(t.Context(), reservations))
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
				"TakeStock": func() error {
					return q.TakeStock(t.Context(), inventory.TakeStockParams{Skus: []string{"SKU-0", "SKU-2"}, Quantities: []string{"0", "0"}, UpdatedAt: time.Now()})
				},
			} {
				require.NoError(t, run(), name)
				require.Len(t, p.Lookups, 1, name)
				assert.Equal(t, "PRIMARY", p.Lookups[0].Index, "%s: %v", name, p.Lookups)
				assert.Equal(t, "range", p.Lookups[0].Access, "%s: %v", name, p.Lookups)
			}
			if n > 1000 { // it locks nothing, so a small table may be scanned
				_, err := messaging.New(p).ListHandled(t.Context(), messaging.ListHandledParams{EventIds: []string{ids[0] + "#1", ids[2] + "#1"}, Consumer: "reserve-stock"})
				require.NoError(t, err)
				require.Len(t, p.Lookups, 1)
				assert.Equal(t, "PRIMARY", p.Lookups[0].Index, p.Lookups)
				assert.Equal(t, "range", p.Lookups[0].Access, p.Lookups)
			}
		})
	}
}
