package finalizeorder

import (
	"context"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/sql/orders"
)

func reserved(t *testing.T, orderID string) event.Event {
	t.Helper()
	return functiontest.Event(t, events.InventoryReserved{OrderID: orderID, Reservations: []events.Quantity{{SKU: "SKU-123", Quantity: 2}}}, 1)
}

var shortages = []events.Shortage{{SKU: "SKU-123", Requested: 2, Available: 1}}

func rejected(t *testing.T, orderID string) event.Event {
	t.Helper()
	return functiontest.Event(t, events.InventoryRejected{
		OrderID: orderID, Reason: events.ReasonOutOfStock, Shortages: shortages, CreatedAt: time.Now(),
	}, 1)
}

func declined(t *testing.T, orderID string) event.Event {
	t.Helper()
	return functiontest.Event(t, events.PaymentDeclined{
		OrderID: orderID, Amount: 2598, Currency: "EUR", Reason: "card_declined", CreatedAt: time.Now(),
	}, 1)
}

func start(t *testing.T) (f *Function, orderID string) {
	t.Helper()
	f, orderID = functiontest.Start(t, New(), nil), functiontest.OrderID()
	functiontest.Order(t, f.DB, orderID, orders.OrdersStatusPENDING)
	return f, orderID
}

func TestReservedConfirmsTheOrder(t *testing.T) {
	f := New()
	now := time.Date(2026, 11, 25, 12, 0, 0, 123456000, time.UTC)
	f.Now = func() time.Time { return now }
	var woken []string
	f.Poke = func(schema string, shards ...uint8) { woken = append(woken, schema); assert.Len(t, shards, 1) }
	functiontest.Start(t, f, nil)
	orderID := functiontest.OrderID()
	functiontest.Order(t, f.DB, orderID, orders.OrdersStatusPENDING)
	e := reserved(t, orderID)

	require.NoError(t, f.Handle(t.Context(), e))

	row := functiontest.Stored(t, f.DB, orderID)
	assert.Equal(t, orders.OrdersStatusCONFIRMED, row.Status)
	assert.Equal(t, 2, row.Version)
	assert.Equal(t, now, row.UpdatedAt)
	assert.Nil(t, row.FailureReason)
	emitted := outboxtest.Drain(t, f.DB)
	require.Len(t, emitted, 1)
	fact, err := events.Decode[events.OrderConfirmed](emitted[0])
	require.NoError(t, err)
	assert.Equal(t, events.OrderConfirmed{OrderID: orderID, CustomerEmail: "alice@example.com", TotalAmount: 2598, CreatedAt: now}, fact)
	assert.Equal(t, orderID+"#2", emitted[0].ID())
	assert.Equal(t, functiontest.CorrelationID, emitted[0].Extensions()["correlationid"])
	assert.Equal(t, e.ID(), emitted[0].Extensions()["causationid"])
	assert.Equal(t, []string{"orders"}, woken)
}

func TestRejectedFailsTheOrderWithReasonAndShortages(t *testing.T) {
	f, orderID := start(t)
	e := rejected(t, orderID)

	require.NoError(t, f.Handle(t.Context(), e))

	row := functiontest.Stored(t, f.DB, orderID)
	assert.Equal(t, orders.OrdersStatusFAILED, row.Status)
	require.NotNil(t, row.FailureReason)
	assert.Equal(t, events.ReasonOutOfStock, *row.FailureReason)
	emitted := outboxtest.Drain(t, f.DB)
	require.Len(t, emitted, 1)
	fact, err := events.Decode[events.OrderFailed](emitted[0])
	require.NoError(t, err)
	assert.Equal(t, events.OrderFailed{
		OrderID: orderID, CustomerEmail: "alice@example.com", Reason: events.ReasonOutOfStock, Shortages: shortages, CreatedAt: fact.CreatedAt,
	}, fact)
	assert.Equal(t, e.ID(), emitted[0].Extensions()["causationid"])
}

func TestDeclinedFailsTheOrderWithTheReasonOfTheGateway(t *testing.T) {
	f, orderID := start(t)
	e := declined(t, orderID)

	require.NoError(t, f.Handle(t.Context(), e))

	row := functiontest.Stored(t, f.DB, orderID)
	assert.Equal(t, orders.OrdersStatusFAILED, row.Status)
	require.NotNil(t, row.FailureReason)
	assert.Equal(t, "card_declined", *row.FailureReason)
	emitted := outboxtest.Drain(t, f.DB)
	require.Len(t, emitted, 1)
	fact, err := events.Decode[events.OrderFailed](emitted[0])
	require.NoError(t, err)
	assert.Equal(t, events.OrderFailed{
		OrderID: orderID, CustomerEmail: "alice@example.com", Reason: "card_declined", CreatedAt: fact.CreatedAt,
	}, fact)
	assert.Equal(t, e.ID(), emitted[0].Extensions()["causationid"])
}

func TestFinalizeIgnoresRedelivery(t *testing.T) {
	for name, news := range map[string]func(*testing.T, string) event.Event{"reserved": reserved, "rejected": rejected, "declined": declined} {
		t.Run(name+" in a row", func(t *testing.T) {
			f, orderID := start(t)
			e := news(t, orderID)
			for range 3 {
				require.NoError(t, f.Handle(t.Context(), e))
			}
			assert.Len(t, outboxtest.Drain(t, f.DB), 1)
			assert.Equal(t, 2, functiontest.Stored(t, f.DB, orderID).Version)
			assert.Equal(t, 1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM inbox"))
		})
		t.Run(name+" at the same time", func(t *testing.T) {
			f, orderID := start(t)
			e := news(t, orderID)
			functiontest.Concurrently(10, func(int) { assert.NoError(t, f.Handle(t.Context(), e)) })
			assert.Len(t, outboxtest.Drain(t, f.DB), 1)
			assert.Equal(t, 2, functiontest.Stored(t, f.DB, orderID).Version)
		})
	}
}

func TestFinalizeIgnoresTheSameFactUnderAnotherID(t *testing.T) {
	for name, news := range map[string]func(*testing.T, string) event.Event{"reserved": reserved, "rejected": rejected, "declined": declined} {
		t.Run(name, func(t *testing.T) {
			f, orderID := start(t)
			again := make([]event.Event, 10)
			for i := range again {
				again[i] = news(t, orderID)
				again[i].SetID(functiontest.OrderID())
			}
			require.NoError(t, f.Handle(t.Context(), again[0]))
			functiontest.Concurrently(len(again), func(i int) { assert.NoError(t, f.Handle(t.Context(), again[i])) })
			assert.Len(t, outboxtest.Drain(t, f.DB), 1)
			assert.Equal(t, 2, functiontest.Stored(t, f.DB, orderID).Version)
			assert.Equal(t, len(again), mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM inbox"))
		})
	}
}

func TestNewsOfAnEndedOrderChangesNothing(t *testing.T) {
	for _, status := range []orders.OrdersStatus{orders.OrdersStatusCONFIRMED, orders.OrdersStatusFAILED, orders.OrdersStatusCANCELED} {
		t.Run(string(status), func(t *testing.T) {
			f := functiontest.Start(t, New(), nil)
			orderID := functiontest.OrderID()
			functiontest.Order(t, f.DB, orderID, status)
			before := functiontest.Stored(t, f.DB, orderID)

			require.NoError(t, f.Handle(t.Context(), reserved(t, orderID)))
			late := rejected(t, orderID)
			late.SetID(orderID + "#2")
			require.NoError(t, f.Handle(t.Context(), late))
			require.NoError(t, f.Handle(t.Context(), declined(t, orderID)))

			assert.Equal(t, before, functiontest.Stored(t, f.DB, orderID))
			assert.Empty(t, outboxtest.Drain(t, f.DB))
		})
	}
}

func TestFinalizeRefusesMalformedEvents(t *testing.T) {
	f, orderID := start(t)
	about := func(e event.Event, subject string) event.Event { e.SetSubject(subject); return e }
	for name, e := range map[string]event.Event{
		"broken data":     functiontest.Broken(reserved(t, orderID)),
		"another subject": about(reserved(t, orderID), functiontest.OrderID()),
		"no subject":      about(rejected(t, orderID), ""),
		"broken decline":  functiontest.Broken(declined(t, orderID)),
	} {
		t.Run(name, func(t *testing.T) { functiontest.AssertPoison(t, f.Handle(t.Context(), e)) })
	}
	assert.Zero(t, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM inbox"))
	assert.Equal(t, 1, functiontest.Stored(t, f.DB, orderID).Version)
}

func TestFinalizeRefusesOtherTypes(t *testing.T) {
	f, orderID := start(t)
	released := functiontest.Event(t, events.InventoryReleased{
		OrderID: orderID, Releases: []events.Quantity{{SKU: "SKU-123", Quantity: 2}}, Reason: events.ReasonCanceled, CreatedAt: time.Now(),
	}, 1)
	functiontest.AssertPoison(t, f.Handle(t.Context(), released))
	assert.Equal(t, 1, functiontest.Stored(t, f.DB, orderID).Version)
}

func TestFinalizeRefusesNewsOfAnUnknownOrder(t *testing.T) {
	f, _ := start(t)
	functiontest.AssertPoison(t, f.Handle(t.Context(), reserved(t, functiontest.OrderID())))
	functiontest.AssertPoison(t, f.Handle(t.Context(), rejected(t, functiontest.OrderID())))
	functiontest.AssertPoison(t, f.Handle(t.Context(), declined(t, functiontest.OrderID())))
	assert.Zero(t, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM inbox"))
}

func TestFinalizeIsTriedAgainWhenTheDatabaseDoesNotAnswer(t *testing.T) {
	f, orderID := start(t)
	e := reserved(t, orderID)
	ended, end := context.WithCancel(t.Context())
	end()
	functiontest.AssertRetried(t, f.Handle(ended, e))

	require.NoError(t, f.Handle(t.Context(), e))
	assert.Equal(t, orders.OrdersStatusCONFIRMED, functiontest.Stored(t, f.DB, orderID).Status)
}

func TestFinalizeIsTriedAgainUntilItHasStarted(t *testing.T) {
	functiontest.AssertRetried(t, New().Handle(t.Context(), reserved(t, functiontest.OrderID())))
}
