package cancelorder

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/host"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/sql/orders"
)

func TestCancellationsByCloudEventAreLimited(t *testing.T) {
	f := New()
	now := time.Now().UTC().Truncate(time.Microsecond)
	f.Now = func() time.Time { return now }
	functiontest.Start(t, f, map[string]string{"RATE_LIMIT_WRITES": "0.2/1"})
	handler, err := host.Handler(f)
	require.NoError(t, err)
	cancel := func() (*httptest.ResponseRecorder, string) {
		orderID := functiontest.OrderID()
		functiontest.Order(t, f.DB, orderID, orders.OrdersStatusPENDING)
		text, err := command(t, orderID).MarshalJSON()
		require.NoError(t, err)
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(string(text)))
		r.Header.Set("Content-Type", "application/cloudevents+json")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w, string(functiontest.Stored(t, f.DB, orderID).Status)
	}
	w, status := cancel()
	require.Equal(t, http.StatusOK, w.Code, w.Body.String())
	assert.Equal(t, events.StatusCanceled, status)

	w, status = cancel()

	require.Equal(t, http.StatusTooManyRequests, w.Code, w.Body.String())
	assert.Equal(t, "5", w.Header().Get("Retry-After"))
	assert.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
	assert.Equal(t, events.StatusPending, status)
}
