package outbox_test

import (
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/messaging/outbox"
)

// created is an order.created as create-order emits it.
func created(b *testing.B) event.Event {
	b.Helper()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	e, err := events.New(events.OrderCreatedV1{
		OrderID: "0195517b-5a00-7c3d-8e2f-1a2b3c4d5e6f", CustomerEmail: "alice@example.com", CreatedAt: at, TotalAmount: 3098,
		Items: []events.Item{{SKU: "SKU-123", Quantity: 2, UnitPrice: 1299}, {SKU: "SKU-7", Quantity: 1, UnitPrice: 500}},
	}, 1, at, events.Cause{CorrelationID: "c-1", CausationID: "k-2"})
	require.NoError(b, err)
	return e
}

// BenchmarkEncodeRow measures the encoding of an event, without its statement.
func BenchmarkEncodeRow(b *testing.B) {
	batch, at := []event.Event{created(b)}, time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := outbox.Encode(batch, at); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecodeRow measures the decoding of a row that the relay has read.
func BenchmarkDecodeRow(b *testing.B) {
	e := created(b)
	rows, err := outbox.Encode([]event.Event{e}, e.Time())
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := outbox.Decode(rows[0].Type, rows[0].Payload, rows[0].Headers); err != nil {
			b.Fatal(err)
		}
	}
}
