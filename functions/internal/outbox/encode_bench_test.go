package outbox_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/outbox"
	"example.com/orders/sql/messaging"
)

// nowhere is a transaction that takes every statement and keeps its arguments.
type nowhere struct {
	messaging.DBTX
	args []any
}

func (n *nowhere) ExecContext(_ context.Context, _ string, args ...any) (sql.Result, error) {
	n.args = args
	return nil, nil //nolint:nilnil // nobody asks how many rows were stored
}

// created is an order.created as create-order emits it.
func created(b *testing.B) event.Event {
	b.Helper()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	e, err := events.New(events.OrderCreated{
		OrderID: "0195517b-5a00-7c3d-8e2f-1a2b3c4d5e6f", CustomerEmail: "alice@example.com", CreatedAt: at, TotalAmount: 3098,
		Items: []events.Item{{SKU: "SKU-123", Quantity: 2, UnitPrice: 1299}, {SKU: "SKU-7", Quantity: 1, UnitPrice: 500}},
	}, 1, at, events.Cause{CorrelationID: "c-1", CausationID: "k-2"})
	require.NoError(b, err)
	return e
}

// BenchmarkAppendWithoutDatabase is what storing an event costs before the statement is sent.
func BenchmarkAppendWithoutDatabase(b *testing.B) {
	batch, tx, at := []event.Event{created(b)}, &nowhere{}, time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := outbox.Append(b.Context(), tx, at, batch); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecodeRow is what the relay does to a row that it has read.
func BenchmarkDecodeRow(b *testing.B) {
	e, tx := created(b), &nowhere{}
	_, err := outbox.Append(b.Context(), tx, e.Time(), []event.Event{e})
	require.NoError(b, err)
	const eventType, payload, headers = 3, 4, 5 // places of an outbox row's columns
	stored := make([]string, len(tx.args))
	for _, column := range []int{eventType, payload, headers} {
		stored[column] = tx.args[column].(string)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := outbox.Decode(stored[eventType], stored[payload], stored[headers]); err != nil {
			b.Fatal(err)
		}
	}
}
