package events_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/orders/events"
)

func BenchmarkNewAndDecode(b *testing.B) {
	order := events.OrderCreated{
		OrderID: "f7a10c52-6f0e-7b3a-9d41-2b8c5e90d3f6", CustomerEmail: "alice@example.com", CreatedAt: time.Now(),
		Items: []events.Item{{SKU: "SKU-123", Quantity: 2, UnitPrice: 1299}, {SKU: "SKU-456", Quantity: 1, UnitPrice: 500}}, TotalAmount: 3098,
	}
	b.ReportAllocs()
	for b.Loop() {
		e, err := events.New(order, 1, order.CreatedAt, events.Cause{CorrelationID: "flow-1", CausationID: "request-1"})
		require.NoError(b, err)
		_, err = events.Decode[events.OrderCreated](e)
		require.NoError(b, err)
	}
}
