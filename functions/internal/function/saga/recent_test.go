package saga_test

import (
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/saga"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/servertest"
)

func TestARememberedOrderEndsInOneRoundTrip(t *testing.T) {
	for _, step := range []string{"reserved", "rejected"} {
		t.Run(step, func(t *testing.T) {
			server, traffic := mysqltest.Counted(t, mysqltest.Server(t))
			s := startOn(t, mysqltest.Pool(t, server, schema.Orders))
			trips := func(orderID string) int64 {
				before := traffic.Statements.Load()
				require.NoError(t, steps[step].do(t.Context(), s, orderID))
				return traffic.Statements.Load() - before
			}
			unknown := s.place(t)
			s.remember()
			known, trailing := s.place(t), s.place(t)

			assert.EqualValues(t, 2, trips(unknown))
			assert.EqualValues(t, 1, trips(known))
			assert.EqualValues(t, 1, trips(trailing))

			for _, orderID := range []string{unknown, known, trailing} {
				assert.Equal(t, steps[step].to, functiontest.Stored(t, s.db, orderID).Status)
			}
		})
	}
}

func TestARememberedOrderEndsAsOneThatIsReadDoes(t *testing.T) {
	state := func(db *sql.DB) map[string][]string {
		all := map[string][]string{}
		for table, columns := range map[string]string{
			"orders": "id, customer_email, status, total_amount, version, failure_reason, correlation_id, created_at, updated_at",
			"inbox":  "event_id, consumer, source, processed_at",
			"outbox": "aggregate_id, shard, aggregate_type, type, payload, headers, created_at",
		} {
			all[table] = mysqltest.Rows(t, db, "SELECT "+columns+" FROM "+table+" ORDER BY 1, 2, 3, 4")
		}
		return all
	}
	var states []map[string][]string
	for _, remembering := range []bool{true, false} {
		s := startOn(t, mysqltest.Open(t, schema.Orders))
		if remembering {
			s.remember()
		}
		now, ids := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC), 0
		clock := func() time.Time { return now }
		s.create.Now, s.finalize.Now = clock, clock
		s.create.NewID = func() string {
			ids++
			return fmt.Sprintf("01900000-0000-7000-8000-%012d", ids)
		}
		for _, step := range []string{"reserved", "rejected", "reserved"} {
			orderID := s.place(t)
			now = now.Add(time.Second)
			require.NoError(t, steps[step].do(t.Context(), s, orderID))
		}
		states = append(states, state(s.db))
	}
	assert.Equal(t, states[1], states[0])
}

// What is remembered is wrong; nothing of the first attempt may stay.
func TestWhatIsRememberedWronglyIsRead(t *testing.T) {
	for name, c := range map[string]struct {
		meanwhile string // a statement with the order's id
		status    orders.OrdersStatus
		emitted   []string
	}{
		"the order has ended elsewhere": {"UPDATE orders SET status = 'CANCELED', version = 2 WHERE id = ?", orders.OrdersStatusCANCELED, []string{}},
		"the order has another version": {"UPDATE orders SET version = 5 WHERE id = ?", orders.OrdersStatusCONFIRMED, []string{events.OrderConfirmedType}},
	} {
		t.Run(name, func(t *testing.T) {
			s := startOn(t, mysqltest.Open(t, schema.Orders))
			s.remember()
			orderID := s.place(t)
			outboxtest.Drain(t, s.db)
			servertest.Exec(t, s.db, c.meanwhile, orderID)

			require.NoError(t, steps["reserved"].do(t.Context(), s, orderID))

			assert.Equal(t, c.status, functiontest.Stored(t, s.db, orderID).Status)
			emitted := outboxtest.Drain(t, s.db)
			assert.Equal(t, c.emitted, outboxtest.Types(emitted))
			assert.Equal(t, 1, mysqltest.Count(t, s.db, "SELECT COUNT(*) FROM inbox"))
		})
	}
}

// A server that took over from another may not have the newest orders.
func TestARememberedOrderWithoutARowIsNotConfirmed(t *testing.T) {
	s := startOn(t, mysqltest.Open(t, schema.Orders))
	s.remember()
	orderID := s.place(t)
	for _, table := range []string{"order_items WHERE order_id", "outbox WHERE aggregate_id", "orders WHERE id"} {
		require.EqualValues(t, 1, servertest.Exec(t, s.db, "DELETE FROM "+table+" = ?", orderID))
	}

	functiontest.AssertPoison(t, steps["reserved"].do(t.Context(), s, orderID))

	assert.Empty(t, outboxtest.Drain(t, s.db))
	assert.Zero(t, mysqltest.Count(t, s.db, "SELECT COUNT(*) FROM inbox"))
}

func TestOnlyTheNewestOrdersAreRemembered(t *testing.T) {
	server, traffic := mysqltest.Counted(t, mysqltest.Server(t))
	s := startOn(t, mysqltest.Pool(t, server, schema.Orders))
	s.remember()
	oldest, old := s.place(t), s.place(t)
	for range 255 {
		s.create.Recent.Add(saga.Order{ID: functiontest.OrderID()})
	}
	for orderID, trips := range map[string]int64{oldest: 2, old: 1} {
		before := traffic.Statements.Load()
		require.NoError(t, steps["reserved"].do(t.Context(), s, orderID))
		assert.Equal(t, trips, traffic.Statements.Load()-before)
	}
}
