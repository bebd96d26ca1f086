package queryplans_test

import (
	"crypto/sha256"
	"database/sql"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/schema"
)

// The growing tables have rows with the numbers 1 to last. A share of them is fresh, another one parked and so on; the rows
// with these numbers are examples, whatever the share.
const (
	fresh     = 2000 // a pending order, a new event, a claimed notification
	parked    = 2001
	retried   = 2002
	discarded = 2003
	done      = 2004
	held      = 2009 // to 2013, whatever the share: new events that a process is about to publish
	last      = 4000
	absent    = 5000 // from here on
)

// numbers is a table with the columns i, from 1 on, and share.
const (
	digit   = "(SELECT 0 AS d UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9)"
	numbers = "(SELECT 1 + a.d + 10 * b.d + 100 * c.d + 1000 * e.d AS i, ? AS share FROM " + digit + " a, " + digit + " b, " + digit + " c, " + digit + " e) n"
)

// Expressions for the columns of a row.
const (
	orderID = "CONCAT('00000000-0000-7000-8000-', LPAD(i, 12, '0'))"
	sku     = "CONCAT('SKU-', LPAD(i, 5, '0'))"
	hash    = "UNHEX(SHA2(i, 256))"
	ago     = "NOW(6) - INTERVAL 5000 - i SECOND"
	claim   = "00000000-0000-7000-8000-00000000c1a1"
	letters = "orders.dead"
	isHeld  = "IF(i BETWEEN 2009 AND 2013, 0, i % share)" // as i % share, but new if it is held
)

// rows describes the rows of a table.
type rows struct{ schema, table, columns, values string }

// growing are the tables whose number of rows is unbounded.
var growing = []rows{
	{
		schema.Orders, "orders",
		"id, customer_email, status, total_amount, currency, version, idempotency_key_hash, request_hash, correlation_id, created_at, updated_at, owner",
		orderID + ", 'alice@example.com', IF(i % share = 0, 'PENDING', 'CONFIRMED'), 1, 'EUR', 1, " + hash + ", " + hash + ", 'flow', " + ago + ", NOW(6), CONCAT('https://login.example.com ', IF(i % 2 = 0, 'alice', CONCAT('customer-', i % 50)))",
	},
	{schema.Orders, "prices", "sku, unit_price, currency, updated_at", sku + ", 1299, 'EUR', NOW(6)"},
	{schema.Orders, "order_items", "order_id, sku, unit_price, quantity", orderID + ", " + sku + ", 1, 1"},
	{schema.Orders, "open_orders", "customer, order_id", hash + ", " + orderID},
	{
		schema.Orders, "outbox",
		"id, shard, aggregate_type, aggregate_id, type, payload, headers, created_at, status, sent_at, next_attempt_at",
		"i, i DIV 7 % 8, 'ORDER', " + orderID + ", 'order.created', '{}', '{}', " + ago +
			", CASE " + isHeld + " WHEN 0 THEN 'NEW' WHEN 1 THEN 'ERROR' WHEN 2 THEN 'ERROR' WHEN 3 THEN 'DISCARDED' ELSE 'SENT' END" +
			", IF(" + isHeld + " > 3, " + ago + ", NULL), IF(" + isHeld + " = 2, " + ago + ", IF(i BETWEEN 2009 AND 2013, NOW(6) + INTERVAL 1 HOUR, NULL))",
	},
	{schema.Orders, "outbox_waiting", "id, aggregate_id", "i, IF(i % share = 2, " + orderID + ", CONCAT('sent-', i))"},
	{schema.Orders, "inbox", "consumer, source, event_id, processed_at", "'notify', '/orders', CONCAT(" + orderID + ", '#1'), " + ago},
	{schema.Inventory, "inventory", "sku, available_qty, reserved_qty, version, updated_at", sku + ", 100, 100, 1, NOW(6)"},
	{
		schema.Inventory, "stock_log",
		"sku, delta, reason, available_after, reserved_after, version_after, created, idempotency_key_hash, request_hash, correlation_id, created_at",
		sku + ", 200, 'delivery', 200, 0, 1, TRUE, " + hash + ", " + hash + ", 'flow', NOW(6)",
	},
	{
		schema.Inventory, "reservations", "order_id, status, version, created_at, updated_at",
		orderID + ", IF(i % share = 0, 'PENDING', 'RESERVED'), 1, NOW(6), NOW(6)",
	},
	{
		schema.Inventory, "reservation_log", "source, event_id, sku, order_id, delta_reserved, status, created_at",
		"'/orders', CONCAT(" + orderID + ", '#1'), " + sku + ", " + orderID + ", 1, 'RESERVED', NOW(6)",
	},
	{
		schema.Payments, "payments",
		"order_id, status, amount, currency, reference, attempts, version, items, cause, requested_at, next_attempt_at, created_at, updated_at",
		orderID + ", CASE i % share WHEN 0 THEN 'REQUESTED' WHEN 1 THEN 'REFUND_REQUESTED' WHEN 2 THEN 'DECLINED' ELSE 'AUTHORIZED' END, 1, 'EUR', 'auth', 1, 1, '[]', '{}', " +
			ago + ", CASE i % share WHEN 0 THEN " + ago + " WHEN 1 THEN NOW(6) + INTERVAL i SECOND END, " + ago + ", NOW(6)",
	},
	{
		schema.Payments, "payment_log", "order_id, entry, amount, currency, reference, actor, created_at",
		orderID + ", 'AUTHORIZED', 1, 'EUR', 'auth', 'authorize-payment', NOW(6)",
	},
	{schema.Notifications, "conversations", "order_id, version, claim, claimed_until", orderID + ", 1, '" + claim + "', NOW(6)"},
	{
		schema.Notifications, "notifications",
		"source, event_id, order_id, order_version, type, customer_email, status, attempts, created_at",
		"'/orders', CONCAT(" + orderID + ", '#2'), " + orderID + ", 2, 'order.confirmed', 'alice@example.com', IF(i % share = 0, 'CLAIMED', 'SENT'), 1, NOW(6)",
	},
	{schema.Notifications, "mail_counts", "address, begun_at, mails", hash + ", " + ago + ", 1"},
	{
		schema.Operations, "dead_letter_actions",
		"topic, kafka_partition, kafka_offset, consumer, event_source, event_id, action, attempts, detail, actor, at",
		"'" + letters + "', i DIV 2 % 12, i DIV 2, 'notify', '/orders', CONCAT(" + orderID + ", '#1'), IF(i % 2 = 0, 'REPLAY_STARTED', 'REPLAYED'), 1, '', 'alice', NOW(6)",
	},
	{
		schema.Operations, "dead_letter_corrections",
		"topic, kafka_partition, kafka_offset, consumer, event_source, event_id, original, corrected, reason, actor, at",
		"'" + letters + "', i % 12, i, 'notify', '/orders', CONCAT(" + orderID + ", '#1'), '{', '{}', '', 'alice', NOW(6)",
	},
	{
		schema.Operations, "lost_records", "topic, kafka_partition, consumer, first_offset, next_offset, at",
		"'order.created', i % 12, 'notify', i, i + 1, " + ago,
	},
	{
		schema.Operations, "payment_actions", "order_id, action, answer, detail, actor, at, outcome",
		orderID + ", 'RETRY', '', '', 'alice', NOW(6), IF(i % share = 0, NULL, 'done')",
	},
	{
		schema.Operations, "forget_actions", "known, orders, detail, actor, at, outcome",
		"'EMAIL', 1, '', 'alice', NOW(6), IF(i % share = 0, NULL, 'done')",
	},
	{
		schema.Operations, "outbox_actions", "schema_name, row_id, action, detail, actor, at, outcome",
		"'orders', i, 'REQUEUE', '', 'alice', NOW(6), IF(i % share = 0, NULL, 'done')",
	},
}

// fill inserts the rows of every growing table, and updates the server's statistics for its plans.
func fill(t *testing.T, pools map[string]*sql.DB, share int) {
	t.Helper()
	for _, g := range growing {
		_, err := pools[g.schema].ExecContext(t.Context(),
			fmt.Sprintf("INSERT INTO %s (%s) SELECT %s FROM %s WHERE i <= ? ORDER BY i", g.table, g.columns, g.values, numbers), share, last)
		require.NoError(t, err, g.table)
		mysqltest.Rows(t, pools[g.schema], "ANALYZE TABLE "+g.table)
	}
	mysqltest.Rows(t, pools[schema.Orders], "ANALYZE TABLE outbox_shards")
}

// now has the precision of the columns, like the services' times: MariaDB uses no index for a time with more digits.
var now = time.Now().UTC().Truncate(time.Microsecond)

func text(s string) *string { return &s }

func order(i int) string { return fmt.Sprintf("00000000-0000-7000-8000-%012d", i) }

func unit(i int) string { return fmt.Sprintf("SKU-%05d", i) }

func key(i int) []byte {
	sum := sha256.Sum256([]byte(strconv.Itoa(i)))
	return sum[:]
}

func shard(i int) uint8 { return uint8(i / 7 % 8) }
