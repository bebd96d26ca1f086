package ordersapi

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/sql/orders"
)

func TestCancelOfPendingAndConfirmedOrders(t *testing.T) {
	for _, status := range []orders.OrdersStatus{orders.OrdersStatusPENDING, orders.OrdersStatusCONFIRMED} {
		t.Run(string(status), func(t *testing.T) {
			f := start(t)
			id := functiontest.OrderID()
			functiontest.Order(t, f.DB, id, status)

			for range 3 { // the second and the third time answer like the first
				w := send(t.Context(), f, http.MethodPost, "/api/orders/"+id+"/cancel", "")
				require.Equal(t, http.StatusOK, w.Code, w.Body.String())
				assert.JSONEq(t, fmt.Sprintf(`{"orderId":%q,"status":"CANCELED"}`, id), w.Body.String())
				assert.Equal(t, functiontest.OrderCorrelationID, w.Header().Get("X-Correlation-ID"))
			}

			assert.Equal(t, events.StatusCanceled, get(t, f, id).Status)
			emitted := outboxtest.Drain(t, f.DB)
			require.Len(t, emitted, 1)
			fact, err := events.Decode[events.OrderCanceled](emitted[0])
			require.NoError(t, err)
			assert.Equal(t, string(status), fact.PreviousStatus)
			assert.Equal(t, functiontest.OrderCorrelationID, emitted[0].Extensions()["correlationid"])
		})
	}
}

func TestCancelTakesTheFlowThatTheClientNames(t *testing.T) {
	f := start(t)
	id := place(t, f)
	outboxtest.Drain(t, f.DB)
	w := send(t.Context(), f, http.MethodPost, "/api/orders/"+id+"/cancel", "", "X-Correlation-ID", "flow-2")
	require.Equal(t, http.StatusOK, w.Code)
	assert.Equal(t, "flow-2", w.Header().Get("X-Correlation-ID"))
	emitted := outboxtest.Drain(t, f.DB)
	require.Len(t, emitted, 1)
	assert.Equal(t, "flow-2", emitted[0].Extensions()["correlationid"])
}

func TestCancelOfAFailedOrderIsAConflict(t *testing.T) {
	f := start(t)
	id := functiontest.OrderID()
	functiontest.Order(t, f.DB, id, orders.OrdersStatusFAILED)
	refused(t, http.StatusConflict, send(t.Context(), f, http.MethodPost, "/api/orders/"+id+"/cancel", ""))
	assert.Equal(t, events.StatusFailed, get(t, f, id).Status)
	assert.Empty(t, outboxtest.Drain(t, f.DB))
}

func TestCancelOfAnUnknownOrderIsNotFound(t *testing.T) {
	f := start(t)
	id := functiontest.OrderID()
	p := refused(t, http.StatusNotFound, send(t.Context(), f, http.MethodPost, "/api/orders/"+id+"/cancel", ""))
	assert.Contains(t, p.Detail, id)
	assert.Zero(t, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM outbox"))
}
