package inventoryapi

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/functiontest"
)

func TestStockIsLimitedPerClient(t *testing.T) {
	f := New()
	now := time.Now().UTC().Truncate(time.Microsecond)
	f.Now = func() time.Time { return now }
	functiontest.Start(t, f, map[string]string{"RATE_LIMIT": "1/2", "TRUSTED_PROXIES": "1"})
	require.Equal(t, http.StatusCreated, put(t, f, "A", `{"availableQty":1}`, "X-Forwarded-For", "192.0.2.1").Code)
	require.Equal(t, http.StatusOK, adjust(t, f, "A", `{"delta":1,"reason":"found"}`, "X-Forwarded-For", "192.0.2.1").Code)
	assert.Equal(t, http.StatusTooManyRequests, put(t, f, "A", `{"availableQty":1}`, "X-Forwarded-For", "192.0.2.1").Code)
	assert.Equal(t, http.StatusTooManyRequests,
		send(t.Context(), f, http.MethodGet, "/api/inventory", "", "X-Forwarded-For", "203.0.113.9, 192.0.2.1").Code, "a client's word changes nothing")
	assert.Equal(t, http.StatusOK, send(t.Context(), f, http.MethodGet, "/api/inventory", "", "X-Forwarded-For", "192.0.2.2").Code)
}
