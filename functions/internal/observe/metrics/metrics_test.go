package metrics_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/observe/exposition"
	"example.com/orders/functions/internal/observe/metrics"
)

// scrape reads the metrics like Prometheus.
func scrape(t *testing.T, m *exposition.Registry) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	require.Equal(t, http.StatusOK, w.Code)
	text, err := io.ReadAll(w.Body)
	require.NoError(t, err)
	return string(text)
}

func TestDeadLettersAreCountedByTopicConsumerAndReason(t *testing.T) {
	m := exposition.New()
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
	one, other := exposition.New(), exposition.New()
	one.CountDeadLetter("order.created", "reserve-stock", metrics.Exhausted)
	assert.NotContains(t, scrape(t, other), "orders_dead_letters_total")
}

func TestMetricsMayBeNil(t *testing.T) {
	var none *metrics.Metrics
	assert.NotPanics(t, func() {
		none.AddConsumer("order.created", "reserve-stock")
		none.CountDeadLetter("order.created", "reserve-stock", metrics.Poison)
		none.CountRetry("order.created", "reserve-stock")
		none.AddFunction("reserve-stock")
		none.CountEvent("reserve-stock", metrics.Handled, time.Second)
		none.AddRelay("orders")
		none.CountBatch("orders", metrics.Batch{}, time.Second)
		assert.NotNil(t, none.Requests(http.NotFoundHandler()))
	})
}

func TestEventsAreCountedByFunctionAndOutcome(t *testing.T) {
	m := exposition.New()
	m.AddFunction("reserve-stock")
	m.AddConsumer("order.created", "reserve-stock")
	m.CountEvent("reserve-stock", metrics.Handled, 20*time.Millisecond)
	m.CountEvent("reserve-stock", metrics.Duplicate, time.Millisecond)
	m.CountRetry("order.created", "reserve-stock")

	text := scrape(t, m)

	assert.Contains(t, text, `orders_function_events_total{function="reserve-stock",outcome="handled"} 1`)
	assert.Contains(t, text, `orders_function_events_total{function="reserve-stock",outcome="duplicate"} 1`)
	assert.Contains(t, text, `orders_function_events_total{function="reserve-stock",outcome="retried"} 0`)
	assert.Contains(t, text, `orders_function_events_total{function="reserve-stock",outcome="poisoned"} 0`)
	assert.Contains(t, text, `orders_function_duration_seconds_bucket{function="reserve-stock",le="0.01"} 1`)
	assert.Contains(t, text, `orders_function_duration_seconds_bucket{function="reserve-stock",le="0.025"} 2`)
	assert.Contains(t, text, `orders_delivery_retries_total{consumer="reserve-stock",topic="order.created"} 1`)
}

func TestABatchCountsAmountsAndLatenciesOfOrders(t *testing.T) {
	m := exposition.New()
	m.AddRelay("orders")
	id := uuid.Must(uuid.NewV7())
	sec, nsec := id.Time().UnixTime()
	at := time.Unix(sec, nsec).Add(300 * time.Millisecond)
	confirmed, err := events.New(events.OrderConfirmed{OrderID: id.String(), CustomerEmail: "a@example.com", TotalAmount: 2598, CreatedAt: at}, 2, at, events.Cause{})
	require.NoError(t, err)
	failed, err := events.New(events.OrderFailed{OrderID: "f47ac10b-58cc-4372-a567-0e02b2c3d479", CustomerEmail: "a@example.com", Reason: "timeout", CreatedAt: at}, 2, at, events.Cause{})
	require.NoError(t, err)

	m.CountBatch("orders", metrics.Batch{Sent: []event.Event{confirmed, failed}, Refused: 3, Unknown: 4}, 2*time.Millisecond)

	text := scrape(t, m)
	assert.Contains(t, text, `orders_relay_batches_total{schema="orders"} 1`)
	assert.Contains(t, text, `orders_relay_batch_duration_seconds_count{schema="orders"} 1`)
	assert.Contains(t, text, `orders_relay_events_total{outcome="sent",schema="orders"} 2`)
	assert.Contains(t, text, `orders_relay_events_total{outcome="refused",schema="orders"} 3`)
	assert.Contains(t, text, `orders_relay_events_total{outcome="unknown",schema="orders"} 4`)
	assert.Contains(t, text, `orders_facts_total{type="order.confirmed"} 1`)
	assert.Contains(t, text, `orders_facts_total{type="order.canceled"} 0`)
	assert.Contains(t, text, "orders_confirmed_amount_total 2598")
	assert.Contains(t, text, `orders_final_latency_seconds_bucket{status="CONFIRMED",le="0.25"} 0`)
	assert.Contains(t, text, `orders_final_latency_seconds_bucket{status="CONFIRMED",le="0.5"} 1`)
	assert.Contains(t, text, `orders_final_latency_seconds_count{status="FAILED"} 0`, "an id that is no UUIDv7 has no time")
}

func TestRequestsAreCountedByTheirRoute(t *testing.T) {
	inner := http.NewServeMux()
	inner.HandleFunc("GET /api/orders/{id}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	inner.HandleFunc("GET /api/events", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, streams := w.(http.Flusher)
		assert.True(t, streams)
	})
	outer := http.NewServeMux()
	outer.Handle("/api/", inner)
	m := exposition.New()
	counted := m.Requests(outer)
	for _, r := range []struct{ method, path string }{{"GET", "/api/orders/1"}, {"GET", "/api/orders/2"}, {"GET", "/api/events"}, {"BREW", "/tea"}} {
		counted.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), r.method, r.path, nil))
	}

	text := scrape(t, m)

	assert.Contains(t, text, `orders_http_requests_total{code="404",method="GET",route="/api/orders/{id}"} 2`)
	assert.Contains(t, text, `orders_http_request_duration_seconds_count{method="GET",route="/api/orders/{id}"} 2`)
	assert.Contains(t, text, `orders_http_requests_total{code="200",method="GET",route="/api/events"} 1`)
	assert.NotContains(t, text, `orders_http_request_duration_seconds_count{method="GET",route="/api/events"}`, "a stream has no latency")
	assert.Contains(t, text, `orders_http_requests_total{code="404",method="other",route="none"} 1`)
}
