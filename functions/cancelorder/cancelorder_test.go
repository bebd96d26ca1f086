package cancelorder

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/host"
	"example.com/orders/functions/internal/function/saga"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/sql/orders"
)

// command is an order.cancel as a client sends it: a command, not a fact.
func command(t *testing.T, orderID string) event.Event {
	t.Helper()
	e := event.New()
	e.SetID("command-1")
	e.SetSource("/desk")
	e.SetType(events.OrderCancelType)
	e.SetExtension("correlationid", "flow-2")
	require.NoError(t, e.SetData(event.ApplicationJSON, events.CancelOrder{OrderID: orderID}))
	return e
}

func start(t *testing.T, status orders.OrdersStatus) (f *Function, orderID string) {
	t.Helper()
	f, orderID = functiontest.Start(t, New(), nil), functiontest.OrderID()
	functiontest.Order(t, f.DB, orderID, status)
	return f, orderID
}

func TestCancelTakesPendingAndConfirmedOrdersBack(t *testing.T) {
	for _, status := range []orders.OrdersStatus{orders.OrdersStatusPENDING, orders.OrdersStatusCONFIRMED} {
		t.Run(string(status), func(t *testing.T) {
			f, orderID := start(t, status)
			before := functiontest.Stored(t, f.DB, orderID)
			now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
			f.Now = func() time.Time { return now }

			answer, err := f.Handle(t.Context(), command(t, orderID))
			require.NoError(t, err)
			require.NotNil(t, answer)
			require.NoError(t, answer.Validate())
			assert.Equal(t, events.OrderCancelAcceptedType, answer.Type())
			assert.Equal(t, "command-1#answer", answer.ID())
			assert.Equal(t, orderID, answer.Subject())
			assert.Equal(t, "flow-2", answer.Extensions()["correlationid"])
			assert.Equal(t, "command-1", answer.Extensions()["causationid"])
			assert.JSONEq(t, `{"orderId":"`+orderID+`","status":"CANCELED"}`, string(answer.Data()))

			row := functiontest.Stored(t, f.DB, orderID)
			assert.Equal(t, orders.OrdersStatusCANCELED, row.Status)
			assert.Equal(t, before.Version+1, row.Version)
			emitted := outboxtest.Drain(t, f.DB)
			require.Len(t, emitted, 1)
			fact, err := events.Decode[events.OrderCanceled](emitted[0])
			require.NoError(t, err)
			assert.Equal(t, events.OrderCanceled{OrderID: orderID, CustomerEmail: "alice@example.com", PreviousStatus: string(status), CreatedAt: now}, fact)
			assert.Equal(t, "flow-2", emitted[0].Extensions()["correlationid"])
			assert.Equal(t, "command-1", emitted[0].Extensions()["causationid"])
		})
	}
}

func TestCancelAnswersRepetitionsLikeTheFirst(t *testing.T) {
	f, orderID := start(t, orders.OrdersStatusPENDING)
	first, err := f.Handle(t.Context(), command(t, orderID))
	require.NoError(t, err)

	again, err := f.Handle(t.Context(), command(t, orderID))
	require.NoError(t, err)
	assert.Equal(t, first, again)
	functiontest.Concurrently(10, func(int) {
		again, err := f.Handle(t.Context(), command(t, orderID))
		assert.NoError(t, err)
		assert.Equal(t, first, again)
	})

	assert.Len(t, outboxtest.Drain(t, f.DB), 1)
	assert.Equal(t, 2, functiontest.Stored(t, f.DB, orderID).Version)
}

func TestCancelEmitsOnceHoweverManyAskAtTheSameTime(t *testing.T) {
	f, orderID := start(t, orders.OrdersStatusCONFIRMED)
	functiontest.Concurrently(10, func(int) {
		canceled, err := f.Cancel(t.Context(), orderID, events.Cause{})
		assert.NoError(t, err)
		assert.Equal(t, events.StatusCanceled, canceled.Status)
	})
	assert.Len(t, outboxtest.Drain(t, f.DB), 1)
	assert.Equal(t, 3, functiontest.Stored(t, f.DB, orderID).Version)
}

func TestCancelOfAFailedOrderIsRefusedByAnAnswer(t *testing.T) {
	f, orderID := start(t, orders.OrdersStatusFAILED)
	before := functiontest.Stored(t, f.DB, orderID)

	answer, err := f.Handle(t.Context(), command(t, orderID))

	require.NoError(t, err)
	assert.Equal(t, events.OrderCancelRefusedType, answer.Type())
	assert.JSONEq(t, `{"orderId":"`+orderID+`","status":"FAILED"}`, string(answer.Data()))
	assert.Equal(t, before, functiontest.Stored(t, f.DB, orderID))
	assert.Empty(t, outboxtest.Drain(t, f.DB))
}

func TestCancelWithoutAFlowBelongsToThatOfTheOrder(t *testing.T) {
	f, orderID := start(t, orders.OrdersStatusPENDING)
	for range 2 {
		canceled, err := f.Cancel(t.Context(), orderID, events.Cause{})
		require.NoError(t, err)
		assert.Equal(t, functiontest.OrderCorrelationID, canceled.CorrelationID)
	}
	emitted := outboxtest.Drain(t, f.DB)
	require.Len(t, emitted, 1)
	assert.Equal(t, functiontest.OrderCorrelationID, emitted[0].Extensions()["correlationid"])
	assert.NotContains(t, emitted[0].Extensions(), "causationid")
}

func TestCancelRefusesMalformedCommands(t *testing.T) {
	f, orderID := start(t, orders.OrdersStatusPENDING)
	with := func(data string) event.Event {
		e := command(t, orderID)
		e.DataEncoded = []byte(data)
		return e
	}
	otherType := command(t, orderID)
	otherType.SetType("order.created")
	for name, e := range map[string]event.Event{
		"broken data":      functiontest.Broken(command(t, orderID)),
		"no data":          with(""),
		"no order id":      with(`{}`),
		"no UUID":          with(`{"orderId":"7"}`),
		"UUID in capitals": with(`{"orderId":"0190A6B0-0000-7000-8000-000000000000"}`),
		"an unknown field": with(`{"orderId":"` + orderID + `","why":"changed my mind"}`),
		"another type":     otherType,
		"an unknown order": command(t, functiontest.OrderID()),
	} {
		t.Run(name, func(t *testing.T) {
			answer, err := f.Handle(t.Context(), e)
			functiontest.AssertPoison(t, err)
			assert.Nil(t, answer)
		})
	}
	assert.Equal(t, orders.OrdersStatusPENDING, functiontest.Stored(t, f.DB, orderID).Status)
}

func TestCancelReportsUnknownOrders(t *testing.T) {
	f := functiontest.Start(t, New(), nil)
	_, err := f.Cancel(t.Context(), functiontest.OrderID(), events.Cause{})
	assert.ErrorIs(t, err, saga.ErrUnknownOrder)
}

func TestCancelIsTriedAgainWhenTheDatabaseDoesNotAnswer(t *testing.T) {
	f, orderID := start(t, orders.OrdersStatusPENDING)
	ended, end := context.WithCancel(t.Context())
	end()
	_, err := f.Handle(ended, command(t, orderID))
	functiontest.AssertRetried(t, err)
	_, err = New().Handle(t.Context(), command(t, orderID))
	functiontest.AssertRetried(t, err)
}

func TestCancelAnswersOverHTTPAsWhenDeployed(t *testing.T) {
	f, orderID := start(t, orders.OrdersStatusPENDING)
	handler, err := host.Handler(f)
	require.NoError(t, err)
	body, err := json.Marshal(command(t, orderID))
	require.NoError(t, err)
	r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
	r.Header.Set("Content-Type", event.ApplicationCloudEventsJSON)
	w := httptest.NewRecorder()

	handler.ServeHTTP(w, r)

	assert.Equal(t, http.StatusOK, w.Code)
	assert.Equal(t, events.OrderCancelAcceptedType, w.Header().Get("Ce-Type"))
	assert.JSONEq(t, `{"orderId":"`+orderID+`","status":"CANCELED"}`, w.Body.String())
}
