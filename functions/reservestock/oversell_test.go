package reservestock

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
)

func TestManyConcurrentOrdersNeverOversell(t *testing.T) {
	f := New()
	f.Log = slog.New(slog.DiscardHandler)
	functiontest.Start(t, f, nil)
	had := map[string]int{"A": 50, "B": 70, "C": 1}
	for sku, units := range had {
		stock(t, f.DB, sku, units)
	}
	one := func(sku string) events.Item { return events.Item{SKU: sku, Quantity: 1, UnitPrice: 1} }
	kinds := [][]events.Item{
		{one("A")},
		{one("B"), one("A")},
		{one("A"), one("B")}, // the other order, in which locks would deadlock
		{one("B")},
		{one("C"), one("B"), one("C")}, // two of C: never available
		{one("C"), one("A")},
	}
	const placed = 1000
	ids := make([]string, placed)

	functiontest.Concurrently(placed, func(i int) {
		order := functiontest.Created(t, kinds[i%len(kinds)]...)
		ids[i] = order.OrderID
		assert.NoError(t, f.Handle(t.Context(), functiontest.Event(t, order, 1)))
	})

	sold, answers := map[string]int64{}, map[string]int{}
	for _, emitted := range outboxtest.Drain(t, f.DB) {
		answers[emitted.Subject()]++
		if emitted.Type() == events.InventoryReservedType {
			fact, err := events.Decode[events.InventoryReserved](emitted)
			require.NoError(t, err)
			for _, r := range fact.Reservations {
				sold[r.SKU] += r.Quantity
			}
			continue
		}
		fact, err := events.Decode[events.InventoryRejected](emitted)
		require.NoError(t, err)
		for _, s := range fact.Shortages {
			assert.Less(t, s.Available, s.Requested)
		}
	}
	for _, id := range ids {
		assert.Equal(t, 1, answers[id], "order %s", id)
	}
	assert.Len(t, answers, placed)
	for _, sku := range []string{"A", "B"} {
		assert.EqualValues(t, had[sku], sold[sku])
	}
	for sku := range had {
		l := levelOf(t, f.DB, sku)
		assert.EqualValues(t, sold[sku], l.reserved)
		assert.Equal(t, had[sku], l.available+l.reserved)
		assert.GreaterOrEqual(t, l.available, 0)
		assert.Equal(t, l.reserved, reserved(t, f.DB, sku))
	}
	assert.Equal(t, placed, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM reservations WHERE status <> 'PENDING'"))
}
