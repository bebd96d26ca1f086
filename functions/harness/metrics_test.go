package main

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/createorder"
)

// scrape reads the metrics like Prometheus.
func (p *process) scrape(t testing.TB) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+"/metrics", http.NoBody)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { assert.NoError(t, response.Body.Close()) }()
	require.Equal(t, http.StatusOK, response.StatusCode)
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(text)
}

// valueOf returns the value of a series in a scrape; ok is false if there is none.
func valueOf(t testing.TB, scraped, series string) (value float64, ok bool) {
	t.Helper()
	parts := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (\S+)$`).FindStringSubmatch(scraped)
	if parts == nil {
		return 0, false
	}
	value, err := strconv.ParseFloat(parts[1], 64)
	require.NoError(t, err)
	return value, true
}

// TestEveryMetricIsRead has the list of all metrics: each is read from a harness with confirmed, failed and canceled orders.
func TestEveryMetricIsRead(t *testing.T) {
	s := newStack(t)
	s.environ = append(s.environ, createorder.WaitVariable+"=") // not set: the default
	p := s.up(t, "--audit-interval", "1s")
	prefix := ""
	for _, pair := range s.environ {
		if value, ok := strings.CutPrefix(pair, "KAFKA_TOPIC_PREFIX="); ok {
			prefix = value
		}
	}
	p.awaitStatus(t, p.place(t, "SKU-123", 2).OrderID, "CONFIRMED")
	p.awaitStatus(t, p.place(t, "SKU-789", 6).OrderID, "FAILED")
	canceled := p.place(t, "SKU-456", 1).OrderID
	p.awaitStatus(t, canceled, "CONFIRMED")
	require.Equal(t, http.StatusOK, p.do(t, http.MethodPost, "/api/orders/"+canceled+"/cancel", nil, "", nil))

	equal := map[string]float64{
		`orders_by_status{status="CONFIRMED"}`:                                                 1,
		`orders_by_status{status="FAILED"}`:                                                    1,
		`orders_by_status{status="CANCELED"}`:                                                  1,
		`orders_by_status{status="PENDING"}`:                                                   0,
		`orders_oldest_pending_age_seconds`:                                                    0,
		`orders_facts_total{type="order.created"}`:                                             3,
		`orders_facts_total{type="order.failed"}`:                                              1,
		`orders_facts_total{type="order.canceled"}`:                                            1,
		`orders_final_latency_seconds_count{status="FAILED"}`:                                  1,
		`orders_relay_events_total{outcome="refused",schema="orders"}`:                         0,
		`orders_relay_events_total{outcome="unknown",schema="orders"}`:                         0,
		`orders_http_requests_total{code="201",method="POST",route="/api/orders"}`:             3,
		`orders_admitted_total{function="orders-api"}`:                                         3,
		`orders_admitted_total{function="create-order"}`:                                       0,
		`orders_admission_limit{function="orders-api"}`:                                        100,
		`orders_admission_under_way{function="orders-api"}`:                                    0,
		`orders_admission_oldest_age_seconds{function="orders-api"}`:                           0,
		`orders_limited_total{reason="connections"}`:                                           0,
		`orders_limited_total{reason="mails"}`:                                                 0,
		`orders_limited_total{reason="open_orders"}`:                                           0,
		`orders_limited_total{reason="overload"}`:                                              0,
		`orders_limited_total{reason="rate"}`:                                                  0,
		`orders_http_request_duration_seconds_count{method="POST",route="/api/orders"}`:        3,
		`orders_http_requests_total{code="200",method="POST",route="/api/orders/{id}/cancel"}`: 1,
		`orders_stock_skus{class="in_stock"}`:                                                  2,
		`orders_stock_skus{class="low"}`:                                                       1,
		`orders_stock_skus{class="out"}`:                                                       0,
		`orders_stock_units{state="available"}`:                                                153,
		`orders_stock_units{state="reserved"}`:                                                 2,
		`orders_function_events_total{function="reserve-stock",outcome="poisoned"}`:            0,
	}
	// These grow with time, or differ with the size of the batches.
	atLeast := map[string]float64{
		`orders_confirmed_amount_total`:                                             3897,
		`orders_facts_total{type="order.confirmed"}`:                                2,
		`orders_final_latency_seconds_count{status="CONFIRMED"}`:                    2,
		`orders_relay_batches_total{schema="orders"}`:                               1,
		`orders_relay_batches_total{schema="inventory"}`:                            1,
		`orders_relay_batch_duration_seconds_count{schema="orders"}`:                1,
		`orders_relay_events_total{outcome="sent",schema="orders"}`:                 5,
		`orders_function_events_total{function="reserve-stock",outcome="handled"}`:  3,
		`orders_function_duration_seconds_count{function="reserve-stock"}`:          3,
		`orders_function_events_total{function="finalize-order",outcome="handled"}`: 2,
		`orders_function_events_total{function="notify",outcome="handled"}`:         2,
		`orders_audit_time_seconds`:                                                 1,
		`go_goroutines`:                                                             1,
		`process_resident_memory_bytes`:                                             1,
	}
	there := []string{
		`orders_function_events_total{function="reserve-stock",outcome="duplicate"}`,
		`orders_function_events_total{function="reserve-stock",outcome="retried"}`,
		`orders_delivery_retries_total{consumer="reserve-stock",topic="` + prefix + `order.created"}`,
		`orders_dead_letters_total{consumer="reserve-stock",reason="poison",topic="` + prefix + `order.created"}`,
		`orders_dead_letters_total{consumer="reserve-stock",reason="exhausted",topic="` + prefix + `order.created"}`,
		`orders_dead_letters_cut_total{consumer="reserve-stock",topic="` + prefix + `order.created"}`,
		`orders_records_lost_total{consumer="reserve-stock",topic="` + prefix + `order.created"}`,
		`orders_dead_letter_records{topic="` + prefix + `order.created.dlq"}`,
		`orders_dead_letters_open{consumer="reserve-stock",topic="` + prefix + `order.created"}`,
	}
	for _, schema := range []string{"orders", "inventory"} {
		for _, state := range []string{"new", "waiting", "parked"} {
			equal[`orders_outbox_rows{schema="`+schema+`",state="`+state+`"}`] = 0
		}
		equal[`orders_outbox_oldest_unsent_age_seconds{schema="`+schema+`"}`] = 0
		equal[`orders_outbox_oldest_parked_age_seconds{schema="`+schema+`"}`] = 0
		equal[`orders_watch_up{source="outbox of `+schema+`"}`] = 1
	}
	for _, source := range []string{"orders", "stock", "consumers", "dead letters"} {
		equal[`orders_watch_up{source="`+source+`"}`] = 1
	}
	for partition := range 3 {
		equal[`orders_consumer_lag_events{group="`+prefix+`reserve-stock.order.created",partition="`+strconv.Itoa(partition)+`",topic="`+prefix+`order.created"}`] = 0
	}
	for _, fact := range events.Types() {
		there = append(there, `orders_facts_total{type="`+fact+`"}`)
	}

	var scraped string
	var missing []string
	p.await(t, "all metrics are what they must be", func() bool {
		scraped, missing = p.scrape(t), nil
		for series, want := range equal {
			if value, ok := valueOf(t, scraped, series); !ok || value != want {
				missing = append(missing, fmt.Sprintf("%s is %v, not %v", series, value, want))
			}
		}
		for series, want := range atLeast {
			if value, _ := valueOf(t, scraped, series); value < want {
				missing = append(missing, fmt.Sprintf("%s is %v, below %v", series, value, want))
			}
		}
		if len(missing) > 0 {
			t.Logf("not yet: %v", missing[0])
		}
		return len(missing) == 0 && strings.Contains(scraped, "\norders_audit_breaches{")
	})
	for _, series := range there {
		_, ok := valueOf(t, scraped, series)
		assert.True(t, ok, series)
	}
	for _, line := range regexp.MustCompile(`(?m)^orders_audit_breaches\{.*$`).FindAllString(scraped, -1) {
		assert.True(t, strings.HasSuffix(line, " 0"), line)
	}

	// The lists are complete, and all names follow the conventions of Prometheus.
	listed := append(slices.Collect(maps.Keys(equal)), "orders_audit_breaches")
	listed = append(slices.AppendSeq(listed, maps.Keys(atLeast)), there...)
	for _, parts := range regexp.MustCompile(`(?m)^# TYPE (orders_\w+) `).FindAllStringSubmatch(scraped, -1) {
		assert.Regexp(t, `(?m)^`+parts[1]+`(_count)?(\{|$)`, strings.Join(listed, "\n"))
	}
	problems, err := promlint.New(strings.NewReader(scraped)).Lint()
	require.NoError(t, err)
	assert.Empty(t, problems)
}

// TestEveryMetricOfPaymentsIsRead has the list of the metrics that only the overlay payment has: each is read from a harness with
// an order that is paid, one that is declined, one that is refunded, and a call that fails.
func TestEveryMetricOfPaymentsIsRead(t *testing.T) {
	s := newStack(t)
	p := s.up(t, "--overlay", "payment")
	const declined, failsBefore = 101, 104 // amounts that force what the simulated gateway does
	p.awaitStatus(t, p.placeAt(t, declined).OrderID, "FAILED")
	p.awaitStatus(t, p.placeAt(t, failsBefore).OrderID, "CONFIRMED")
	canceled := p.place(t, "SKU-123", 1).OrderID
	p.awaitStatus(t, canceled, "CONFIRMED")
	require.Equal(t, http.StatusOK, p.do(t, http.MethodPost, "/api/orders/"+canceled+"/cancel", nil, "", nil))
	want := map[string]float64{
		`orders_payments_total{outcome="AUTHORIZED",reason=""}`:                         2,
		`orders_payments_total{outcome="DECLINED",reason="card_declined"}`:              1,
		`orders_payments_total{outcome="REFUNDED",reason=""}`:                           1,
		`orders_payments_total{outcome="VOID",reason=""}`:                               0,
		`orders_payments_unknown{operation="authorize"}`:                                0,
		`orders_payments_unknown{operation="refund"}`:                                   0,
		`orders_payments_unknown_oldest_seconds{operation="authorize"}`:                 0,
		`orders_payments_unknown_oldest_seconds{operation="refund"}`:                    0,
		`orders_payment_gateway_seconds_count{operation="refund",result="answered"}`:    1,
		`orders_payment_gateway_seconds_count{operation="authorize",result="failed"}`:   1,
		`orders_watch_up{source="payments"}`:                                            1,
		`orders_watch_up{source="outbox of payments"}`:                                  1,
		`orders_facts_total{type="payment.authorized"}`:                                 2,
		`orders_facts_total{type="payment.declined"}`:                                   1,
		`orders_facts_total{type="payment.refunded"}`:                                   1,
		`orders_function_events_total{function="authorize-payment",outcome="poisoned"}`: 0,
		`orders_outbox_rows{schema="payments",state="parked"}`:                          0,
	}
	p.await(t, "all metrics of payments are what they must be", func() bool {
		scraped := p.scrape(t)
		for series, value := range want {
			if got, ok := valueOf(t, scraped, series); !ok || got != value {
				t.Logf("not yet: %s", series)
				return false
			}
		}
		problems, err := promlint.New(strings.NewReader(scraped)).Lint()
		require.NoError(t, err)
		assert.Empty(t, problems)
		return true
	})
}

func TestAHarnessServesHealthAndInfo(t *testing.T) {
	p := newStack(t).up(t)
	var alive struct{ Status string }
	require.Equal(t, http.StatusOK, p.get(t, "/health/live", &alive))
	assert.Equal(t, "UP", alive.Status)

	var ready struct {
		Status     string
		Components map[string]struct{ Status, Reason string }
	}
	require.Equal(t, http.StatusOK, p.get(t, "/health/ready", &ready))
	assert.Equal(t, "UP", ready.Status)
	for _, name := range []string{"kafka", "schema orders", "schema inventory", "schema notifications", "function reserve-stock", "function publish-outbox-orders"} {
		assert.Equal(t, "UP", ready.Components[name].Status, name)
	}
	sources := 0
	for name := range ready.Components {
		if strings.HasPrefix(name, "source ") {
			sources++
		}
	}
	assert.Positive(t, sources)

	var info struct {
		Build             struct{ Version, Go string }
		Functions, Topics []string
	}
	require.Equal(t, http.StatusOK, p.get(t, "/info", &info))
	assert.NotEmpty(t, info.Build.Version)
	assert.Contains(t, info.Build.Go, "go1.")
	assert.Contains(t, info.Functions, "reserve-stock")
	assert.Contains(t, strings.Join(info.Topics, " "), "order.created")
}
