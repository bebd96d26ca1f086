package gauge_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/messaging"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/schema"
)

func TestGaugesReadNoFinishedRows(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	execute(t, db, `INSERT INTO outbox (shard, aggregate_type, aggregate_id, type, payload, headers, status, created_at)
		VALUES `+strings.Repeat(`(0, 'ORDER', 'o', 't', '{}', '{}', 'SENT', NOW(6)), `, 99)+`(1, 'ORDER', 'o', 't', '{}', '{}', 'NEW', NOW(6))`)
	execute(t, db, `INSERT INTO outbox (shard, aggregate_type, aggregate_id, type, payload, headers, status, created_at, next_attempt_at)
		VALUES (2, 'ORDER', 'o', 't', '{}', '{}', 'ERROR', NOW(6), NOW(6))`)
	execute(t, db, `INSERT INTO orders (id, customer_email, status, total_amount, currency, version, request_hash, correlation_id, created_at, updated_at)
		VALUES ('1', 'a@example.com', 'PENDING', 1, 'EUR', 1, REPEAT('x', 32), 'c', NOW(6), NOW(6))`)
	for range 5 {
		execute(t, db, `INSERT INTO outbox (shard, aggregate_type, aggregate_id, type, payload, headers, status, created_at)
			SELECT id % 8, 'ORDER', 'o', 't', '{}', '{}', 'SENT', NOW(6) FROM outbox`)
		execute(t, db, `INSERT INTO orders (id, customer_email, status, total_amount, currency, version, request_hash, correlation_id, created_at, updated_at)
			SELECT UUID(), 'a@example.com', 'CONFIRMED', 1, 'EUR', 1, REPEAT('x', 32), 'c', NOW(6), NOW(6) FROM orders`)
	}
	for _, table := range []string{"outbox", "outbox_shards", "orders"} {
		execute(t, db, "ANALYZE TABLE "+table)
	}
	p := mysqltest.NewPlanner(t, db)
	queries := map[string]func() error{
		"CountByStatus": func() error {
			_, err := messaging.New(p).CountByStatus(t.Context(), messaging.CountByStatusParams{Status: messaging.OutboxStatusNEW, Limit: 100})
			return err
		},
		"OldestByStatus": func() error {
			_, err := messaging.New(p).OldestByStatus(t.Context(), messaging.OutboxStatusNEW)
			return err
		},
		"WatchWaiting": func() error {
			_, err := messaging.New(p).WatchWaiting(t.Context(), messaging.WatchWaitingParams{Shards: []uint8{1, 2}, Status: messaging.OutboxStatusERROR, Limit: 100})
			return err
		},
		"TallyStatuses": func() error { _, err := orders.New(p).TallyStatuses(t.Context()); return err },
		"OldestPending": func() error { _, err := orders.New(p).OldestPending(t.Context()); return err },
	}
	indexes := map[string]string{"o": "outbox_due", "s": "PRIMARY", "orders": "orders_status"}
	for name, run := range queries {
		require.NoError(t, run(), name)
		require.NotEmpty(t, p.Lookups, name)
		for _, l := range p.Lookups {
			want := indexes[l.Table]
			if name == "OldestPending" && l.Table == "o" {
				want = "orders_status"
			}
			if want != "" {
				assert.Equal(t, want, l.Index, "%s: %v", name, p.Lookups)
			}
		}
	}
}
