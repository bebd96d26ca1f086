package finalizeorder

import (
	"database/sql"
	"log/slog"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/schema"
)

// quiet starts the function on db, or on a new schema if db is nil, without a log.
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

func TestOnlyTheUnknownOrderOfABatchIsPoison(t *testing.T) {
	f := quiet(t, nil)
	ids := pending(t, f.DB, 3)
	batch := []event.Event{reserved(t, ids[0]), reserved(t, functiontest.OrderID()), reserved(t, ids[1]), reserved(t, ids[2])}

	answers := functiontest.Together(t.Context(), f, batch...)

	assert.Equal(t, []int{200, 422, 200, 200}, functiontest.Statuses(answers))
	assert.Equal(t, 3, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders WHERE status = 'CONFIRMED'"))
	assert.Len(t, outboxtest.Drain(t, f.DB), 3)
}

func TestACommitOfABatchThatIsLostIsNoSecondEffect(t *testing.T) {
	for name, c := range map[string]struct{ before, after int32 }{"before it": {2, 0}, "after it": {0, 1}} {
		t.Run(name, func(t *testing.T) {
			db, loss := mysqltest.Lossy(t, mysqltest.Server(t), schema.Orders)
			f := quiet(t, db)
			var batch []event.Event
			for _, id := range pending(t, db, 4) {
				batch = append(batch, reserved(t, id))
			}
			loss.Before.Store(c.before)
			loss.After.Store(c.after)
			for range 2 {
				answers := functiontest.Together(t.Context(), f, batch...)
				assert.Equal(t, []int{200, 200, 200, 200}, functiontest.Statuses(answers))
			}
			assert.Equal(t, 4, mysqltest.Count(t, db, "SELECT COUNT(*) FROM orders WHERE status = 'CONFIRMED' AND version = 2"))
			assert.Len(t, outboxtest.Drain(t, db), 4)
		})
	}
}

func TestABatchTakesAsManyStatementsAsAFewEvents(t *testing.T) {
	f := quiet(t, nil)
	var batch []event.Event
	for _, id := range pending(t, f.DB, 64) {
		batch = append(batch, reserved(t, id))
	}
	n := mysqltest.Statements(t, f.DB, func() {
		functiontest.Together(t.Context(), f, batch...)
	})
	assert.LessOrEqual(t, n, 10)
	assert.Equal(t, 64, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders WHERE status = 'CONFIRMED'"))
}

func TestStatementsOfABatchFindTheirRowsByThePrimaryKey(t *testing.T) {
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
