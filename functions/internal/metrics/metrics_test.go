package metrics_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/metrics"
)

// scrape reads what Prometheus would.
func scrape(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	require.Equal(t, http.StatusOK, w.Code)
	text, err := io.ReadAll(w.Body)
	require.NoError(t, err)
	return string(text)
}

func TestDeadLettersAreCountedByTopicConsumerAndReason(t *testing.T) {
	m := metrics.New()
	m.AddConsumer("order.created", "reserve-stock")
	m.CountDeadLetter("order.created", "reserve-stock", metrics.Poison)
	m.CountDeadLetter("order.created", "reserve-stock", metrics.Poison)
	m.CountDeadLetter("order.failed", "notify", "rejected_4xx")

	text := scrape(t, m)

	assert.Contains(t, text, `orders_dead_letters_total{consumer="reserve-stock",reason="poison",topic="order.created"} 2`)
	assert.Contains(t, text, `orders_dead_letters_total{consumer="reserve-stock",reason="exhausted",topic="order.created"} 0`)
	assert.Contains(t, text, `orders_dead_letters_total{consumer="notify",reason="rejected_4xx",topic="order.failed"} 1`)
	assert.Contains(t, text, "go_goroutines")
}

func TestTwoMetricsShareNothing(t *testing.T) {
	one, other := metrics.New(), metrics.New()
	one.CountDeadLetter("order.created", "reserve-stock", metrics.Exhausted)
	assert.NotContains(t, scrape(t, other), "orders_dead_letters_total")
}

func TestNobodyHasToLook(t *testing.T) {
	var none *metrics.Metrics
	assert.NotPanics(t, func() {
		none.AddConsumer("order.created", "reserve-stock")
		none.CountDeadLetter("order.created", "reserve-stock", metrics.Poison)
	})
}
