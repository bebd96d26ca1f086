package console_test

import (
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/inventory"
	"example.com/orders/sql/messaging"
	"example.com/orders/sql/notifications"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/schema"
)

// tenThousand is a table n with a column i from 0 to 9999.
const (
	digit       = "(SELECT 0 AS d UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9)"
	tenThousand = "(SELECT a.d + 10 * b.d + 100 * c.d + 1000 * e.d AS i FROM " + digit + " a, " + digit + " b, " + digit + " c, " + digit + " e) n"
)

// theID is the id of the order to look up, among the ten thousand.
const theID = "00000000-0000-7000-8000-000000004321"

// fill inserts ten thousand rows with a statement, and updates the statistics for the server's plans.
func fill(t *testing.T, db *sql.DB, table, columns, values string, arguments ...any) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), fmt.Sprintf("INSERT INTO %s (%s) SELECT %s FROM %s ORDER BY n.i", table, columns, values, tenThousand), arguments...)
	require.NoError(t, err)
	rows, err := db.QueryContext(t.Context(), "ANALYZE TABLE "+table)
	require.NoError(t, err)
	defer func() { assert.NoError(t, rows.Close()) }()
	for rows.Next() {
	}
	require.NoError(t, rows.Err())
}

// TestTenThousandOrdersAreReadByIndexes checks that no view of the console scans a table, except for the counts, which
// scan an index.
func TestTenThousandOrdersAreReadByIndexes(t *testing.T) {
	const id = "CONCAT('00000000-0000-7000-8000-', LPAD(n.i, 12, '0'))"
	server := mysqltest.Server(t)
	pool := func(name string) *sql.DB { return mysqltest.Pool(t, server, name) }
	fill(t, pool(schema.Orders), "orders", "id, customer_email, status, total_amount, currency, version, request_hash, correlation_id, created_at, updated_at",
		id+", 'alice@example.com', 'CONFIRMED', 1, 'EUR', 2, REPEAT('x', 32), 'flow', NOW(6), NOW(6)")
	shard := outbox.Shard(theID)
	fill(t, pool(schema.Orders), "outbox", "shard, aggregate_type, aggregate_id, type, payload, headers, status, created_at",
		fmt.Sprintf("IF(n.i = 4321, %d, n.i %% 8), 'ORDER', %s, 'order.created', '{}', '{}', 'SENT', NOW(6)", shard, id))
	fill(t, pool(schema.Orders), "inbox", "consumer, source, event_id, processed_at", "'notify', '/orders', CONCAT("+id+", '#1'), NOW(6)")
	fill(t, pool(schema.Inventory), "reservations", "order_id, status, version, created_at, updated_at", id+", 'RESERVED', 1, NOW(6), NOW(6)")
	fill(t, pool(schema.Notifications), "notifications", "source, event_id, order_id, order_version, type, customer_email, status, attempts, created_at",
		"'/orders', CONCAT("+id+", '#2'), "+id+", 2, 'order.confirmed', 'alice@example.com', 'SENT', 1, NOW(6)")

	planners := map[string]*mysqltest.Planner{}
	for _, name := range []string{schema.Orders, schema.Inventory, schema.Notifications} {
		planners[name] = mysqltest.NewPlanner(t, pool(name))
	}
	messages, facts := messaging.New(planners[schema.Orders]), orders.New(planners[schema.Orders])
	for name, c := range map[string]struct {
		schema string
		query  func() (rows int, err error)
		index  string // of the large table
		rows   int
	}{
		"FirstEventFrom": {schema.Orders, func() (int, error) { _, err := messages.FirstEventFrom(t.Context(), 5000); return 1, err }, "PRIMARY", 1},
		"LastEvent":      {schema.Orders, func() (int, error) { _, err := messages.LastEvent(t.Context()); return 1, err }, "", 1},
		"ListEventsOf": {schema.Orders, func() (int, error) {
			rows, err := messages.ListEventsOf(t.Context(), messaging.ListEventsOfParams{Shard: shard, FromID: 1, ToID: 10_001, AggregateID: theID, Limit: 100})
			return len(rows), err
		}, "outbox_due", 1},
		"ListHandledBetween": {schema.Orders, func() (int, error) {
			rows, err := messages.ListHandledBetween(t.Context(), messaging.ListHandledBetweenParams{FromID: theID + "#", ToID: theID + "$", Limit: 100})
			return len(rows), err
		}, "PRIMARY", 1},
		"TallyStatuses": {schema.Orders, func() (int, error) { rows, err := facts.TallyStatuses(t.Context()); return len(rows), err }, "orders_status", 1},
		"ListOrders": {schema.Orders, func() (int, error) {
			rows, err := facts.ListOrders(t.Context(), orders.ListOrdersParams{BeforeID: "ffffffff-ffff-ffff-ffff-ffffffffffff", Limit: 50})
			return len(rows), err
		}, "PRIMARY", 50},
		"GetFlow": {schema.Orders, func() (int, error) { _, err := facts.GetFlow(t.Context(), theID); return 1, err }, "PRIMARY", 1},
		"GetReservation": {schema.Inventory, func() (int, error) {
			_, err := inventory.New(planners[schema.Inventory]).GetReservation(t.Context(), theID)
			return 1, err
		}, "PRIMARY", 1},
		"ListNotificationsOf": {schema.Notifications, func() (int, error) {
			rows, err := notifications.New(planners[schema.Notifications]).ListNotificationsOf(t.Context(), theID)
			return len(rows), err
		}, "notifications_order", 1},
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			rows, err := c.query()
			require.NoError(t, err)
			assert.Equal(t, c.rows, rows)
			t.Logf("%s took %s", name, time.Since(begin))
			require.NotEmpty(t, planners[c.schema].Lookups)
			used := ""
			for _, l := range planners[c.schema].Lookups {
				if l.Table == "outbox" || l.Table == "o" || len(planners[c.schema].Lookups) == 1 {
					used = l.Index
					assert.NotEqual(t, "ALL", l.Access, l)
				}
			}
			if c.index != "" {
				assert.Equal(t, c.index, used, planners[c.schema].Lookups)
			}
		})
	}
}
