package bench

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/operate/audit"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/schema"
)

// filled fills a stack, and returns how to audit it.
func filled(t *testing.T, past Past, o Options) (Target, audit.Options) {
	t.Helper()
	target := servers(t)
	config := mysqltest.Config(target.Server)
	config["KAFKA_BROKERS"], config["KAFKA_TOPIC_PREFIX"] = strings.Join(target.Brokers, ","), target.TopicPrefix
	audited, err := audit.Configure(config, 0)
	require.NoError(t, err)
	require.NoError(t, kafka.EnsureTopics(t.Context(), target.Brokers, audited.Wiring.Topics))
	target.Currency = "EUR"
	require.NoError(t, Fill(t.Context(), target, audited.Wiring.Sources, past, o, nil))
	return target, audited
}

// numbers returns what an invariant has counted.
func numbersOf(r *audit.Report, name string) map[string]int {
	for _, i := range r.Invariants {
		if i.Name == name {
			return i.Numbers
		}
	}
	return nil
}

func TestFillLeavesWhatAnAuditAcceptsAndWhatItWouldMiss(t *testing.T) {
	t.Parallel()
	const orders = 2*fillChunk + 7 // the last chunk is not full
	target, audited := filled(t, Past{Orders: orders, Over: 10 * 24 * time.Hour}, Options{SKUs: 30, Lines: 3, Skew: 1, Seed: 1})

	r, err := audit.Run(t.Context(), audited)
	require.NoError(t, err)

	for _, i := range r.Invariants {
		assert.Empty(t, i.Breaches, i.Name)
		assert.Empty(t, i.Skipped, i.Name)
	}
	assert.Empty(t, r.Exceptions)
	assert.Equal(t, map[string]int{"CONFIRMED": orders - 2*21, "FAILED": 21, "CANCELED": 21}, numbersOf(r, audit.Holdings), "without any in flight")
	rows := 3*orders + 2*21
	assert.Equal(t, map[string]int{"orders": orders, "rows": rows}, numbersOf(r, audit.Facts), "none to be sent, none purged")
	assert.Equal(t, map[string]int{"sent": rows}, numbersOf(r, audit.Sent))
	assert.Equal(t, rows, numbersOf(r, audit.Once)["records"])
	assert.Equal(t, orders+21, numbersOf(r, audit.Once)["notifications"])
	assert.Equal(t, map[string]int{"SKUs": 30, "log rows": 30}, numbersOf(r, audit.Stock))

	for name, change := range map[string]struct{ schema, statement, invariant string }{
		"a line":        {schema.Orders, "DELETE FROM order_items ORDER BY id DESC LIMIT 1", audit.Totals},
		"a reservation": {schema.Inventory, "DELETE FROM reservation_log WHERE status = 'RESERVED' LIMIT 1", audit.Reserved},
		"a record":      {schema.Orders, "UPDATE outbox SET kafka_offset = kafka_offset + 1000000 ORDER BY id LIMIT 1", audit.Sent},
		"a fact":        {schema.Inventory, "DELETE FROM outbox ORDER BY id DESC LIMIT 1", ""},
	} {
		db, err := target.Server.Open(change.schema, 1)
		require.NoError(t, err)
		_, err = db.ExecContext(t.Context(), change.statement)
		require.NoError(t, err)
		require.NoError(t, db.Close())
		r, err := audit.Run(t.Context(), audited)
		require.NoError(t, err)
		if change.invariant == "" { // its record explains it
			assert.Equal(t, 1, numbersOf(r, audit.Facts)["purged, still in a topic"], name)
			continue
		}
		for _, i := range r.Invariants {
			if i.Name == change.invariant {
				assert.Positive(t, i.Breached, name)
			}
		}
	}
}

func TestFillMakesTheSameOrdersInWhateverOrder(t *testing.T) {
	t.Parallel()
	m := maker{shape: newShape(10, 0, 2, 7), seed: 7, begin: time.UnixMilli(1_700_000_000_000), step: time.Second}
	ids := map[string]bool{}
	last := ""
	for n := range 200 {
		one, err := m.order(n)
		require.NoError(t, err)
		again, err := m.order(n)
		require.NoError(t, err)
		assert.Equal(t, one, again)
		assert.Greater(t, one.id, last, "ids sort by time")
		last = one.id
		ids[one.id] = true
	}
	assert.Len(t, ids, 200)
}

func TestFillEndsWithItsContext(t *testing.T) {
	t.Parallel()
	target := servers(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := Fill(ctx, target, nil, Past{Orders: 10, Over: time.Hour}, Options{SKUs: 1, Lines: 1}, nil)
	require.ErrorIs(t, err, context.Canceled)
}

func TestThePastIsBounded(t *testing.T) {
	t.Parallel()
	require.NoError(t, Past{Orders: 1, Over: time.Hour}.Validate())
	err := Past{Orders: -1, Over: -1}.Validate()
	require.ErrorContains(t, err, "--fill -1")
	require.ErrorContains(t, err, "--fill-over")
}
