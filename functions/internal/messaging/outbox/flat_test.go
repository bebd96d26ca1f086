package outbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/schema"
)

// fewReads is more rows than a sweep reads to send a single row, whatever else the outbox holds.
const fewReads = 200

// fillRefused inserts n rows, half of them parked and half waiting for an hour.
func fillRefused(t *testing.T, db *sql.DB, n int) {
	t.Helper()
	fill(t, db, n)
	exec(t, db, "UPDATE outbox SET status = 'ERROR', attempts = 3, sent_at = NULL, next_attempt_at = IF(id DIV 8 % 2 = 0, NULL, NOW(6) + INTERVAL 1 HOUR)")
	exec(t, db, "INSERT INTO outbox_waiting (id, aggregate_id) SELECT id, aggregate_id FROM outbox WHERE next_attempt_at IS NOT NULL")
	for _, table := range []string{"outbox", "outbox_waiting"} {
		mysqltest.Rows(t, db, "ANALYZE TABLE "+table)
	}
}

func TestRelayPassesOverNoRefusedRows(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	fillRefused(t, db, 10_000)
	db.SetMaxOpenConns(1)
	e := fact("order-1", 1)
	store(t, db, e)
	b := &broker{t: t}

	read := mysqltest.RowsRead(t, db, func() { assert.Equal(t, 1, sweep(t, db, b)) })
	assert.Less(t, read, fewReads, "a sweep of all shards")

	store(t, db, fact("order-1", 2))
	read = mysqltest.RowsRead(t, db, func() {
		sent, err := relay(db, b).Sweep(t.Context(), 0, 1, 2, 3, 4, 5, 6, 7)
		require.NoError(t, err)
		assert.Equal(t, 1, sent)
	})
	assert.Less(t, read, fewReads, "a poke")
	assert.Less(t, mysqltest.RowsRead(t, db, func() { assert.Zero(t, sweep(t, db, b)) }), fewReads, "nothing to do")
	assert.Equal(t, []string{"order-1#1", "order-1#2"}, b.ids())
}

func TestRelaySetsHeldBackRowsAsideAndSendsThemInOrder(t *testing.T) {
	const aggregates = 2000
	db := mysqltest.Open(t, schema.Orders)
	db.SetMaxOpenConns(1)
	var first, second []event.Event
	for i := range aggregates {
		name := fmt.Sprint("order-", i)
		first, second = append(first, fact(name, 1)), append(second, fact(name, 2))
	}
	store(t, db, first...)
	b := &broker{t: t, answer: func(context.Context, event.Event) outbox.Outcome { return outbox.Outcome{Err: outbox.ErrRefused} }}
	sweep(t, db, b)
	exec(t, db, "UPDATE outbox SET next_attempt_at = NOW(6) + INTERVAL 1 HOUR")
	b = &broker{t: t}
	store(t, db, second...)
	store(t, db, fact("other", 1))

	assert.Equal(t, 1, sweep(t, db, b))
	assert.Equal(t, aggregates, mysqltest.Count(t, db, "SELECT COUNT(*) FROM outbox WHERE attempts = 0 AND status = 'ERROR' AND last_error LIKE 'held back by%'"))
	store(t, db, fact("other", 2))
	read := mysqltest.RowsRead(t, db, func() { assert.Equal(t, 1, sweep(t, db, b)) })
	assert.Less(t, read, fewReads)
	assert.Equal(t, []string{"other#1", "other#2"}, b.ids())

	exec(t, db, "UPDATE outbox SET next_attempt_at = NOW(6) WHERE next_attempt_at IS NOT NULL")
	assert.Equal(t, 2*aggregates, sweep(t, db, b))
	seen := map[string]bool{}
	for _, id := range b.ids() {
		assert.False(t, seen[id], "%s is sent again", id)
		seen[id] = true
		assert.True(t, seen[id[:len(id)-1]+"1"], "%s before the first", id)
	}
	assert.Zero(t, mysqltest.Count(t, db, "SELECT COUNT(*) FROM outbox WHERE status <> 'SENT'"))
	assert.Zero(t, mysqltest.Count(t, db, "SELECT COUNT(*) FROM outbox_waiting"))
}
