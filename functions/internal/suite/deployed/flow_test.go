package deployed

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/knativetest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/knative"
	"example.com/orders/sql/schema"
)

// system is all functions as separate processes, with a stand-in for Knative's data plane between them.
type system struct {
	*cluster
	services map[string]string // the URLs of the functions by Service name
	sink     *knativetest.Sink
}

// deploy starts all functions; their relays publish through the KafkaSinks, or directly to Kafka.
func deploy(t testing.TB, viaSinks bool) *system {
	t.Helper()
	s := &system{cluster: newCluster(t), services: map[string]string{}}
	topics := map[string]string{}
	for _, topic := range s.wiring.Topics {
		topics[strings.TrimPrefix(topic.Name, s.kafka.Prefix)] = topic.Name
	}
	s.sink = knativetest.StartSink(t, s.kafka.Brokers, topics)
	for _, relays := range []bool{true, false} { // the relays first: the others need their URLs for pokes
		for _, service := range s.wiring.Services {
			relay := service.Function == "publishoutbox"
			if relay != relays {
				continue
			}
			more := map[string]string{}
			switch {
			case relay && viaSinks:
				more["KAFKA_BROKERS"], more["KAFKA_SINK_URL"] = "", s.sink.URL+"/orders/{topic}"
			case !relay:
				more["OUTBOX_POKE_URL"] = s.services[poked(service)]
			}
			s.services[service.Name] = s.binaries.Start(t, service.Name, s.environ(service, more)).URL
		}
	}
	knativetest.Start(t, s.kafka.Brokers, s.wiring, s.services, s.sink)
	return s
}

// poked returns the relay that a function pokes, or nothing.
func poked(service knative.Service) string {
	host, _, _ := strings.Cut(strings.TrimPrefix(service.Env["OUTBOX_POKE_URL"], "http://"), ".")
	return host
}

// order is an order in an answer.
type order struct {
	OrderID string `json:"orderId"`
	Status  string `json:"status"`
}

// call sends JSON to a function and reads the answer.
func (s *system) call(t testing.TB, method, service, path, body string, status int) (o order) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, s.services[service]+path, strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { assert.NoError(t, response.Body.Close()) }()
	require.Equal(t, status, response.StatusCode)
	require.NoError(t, json.NewDecoder(response.Body).Decode(&o))
	return o
}

func (s *system) place(t testing.TB, sku string, quantity int) string {
	t.Helper()
	o := s.call(t, http.MethodPost, "orders-api", "/api/orders",
		fmt.Sprintf(`{"customerEmail":"alice@example.com","items":[{"sku":%q,"quantity":%d,"unitPrice":1299}]}`, sku, quantity), http.StatusCreated)
	require.Equal(t, "PENDING", o.Status)
	return o.OrderID
}

func (s *system) await(t testing.TB, id, status string) {
	t.Helper()
	await(t, "order "+id+" is "+status, func() bool {
		return s.call(t, http.MethodGet, "orders-api", "/api/orders/"+id, "", http.StatusOK).Status == status
	})
}

func await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			require.Fail(t, "a minute is over before", what)
		}
	}
}

func TestOrdersEndWellAcrossProcesses(t *testing.T) {
	for name, viaSinks := range map[string]bool{"relays send to Kafka": false, "relays send to KafkaSinks": true} {
		t.Run(name, func(t *testing.T) {
			s := deploy(t, viaSinks)
			s.call(t, http.MethodPut, "inventory-api", "/api/inventory/SKU-123", `{"availableQty":10}`, http.StatusCreated)

			confirmed, short := s.place(t, "SKU-123", 2), s.place(t, "SKU-123", 100)
			s.await(t, confirmed, "CONFIRMED")
			s.await(t, short, "FAILED")
			s.call(t, http.MethodPost, "orders-api", "/api/orders/"+confirmed+"/cancel", "", http.StatusOK)

			await(t, "the stock is back", func() bool {
				return mysqltest.Count(t, mysqltest.Pool(t, s.server, schema.Inventory),
					"SELECT COUNT(*) FROM inventory WHERE sku = 'SKU-123' AND available_qty = 10 AND reserved_qty = 0") == 1
			})
			await(t, "the customer knows all", func() bool {
				return mysqltest.Count(t, mysqltest.Pool(t, s.server, schema.Notifications),
					"SELECT COUNT(*) FROM notifications WHERE status <> 'CLAIMED'") == 3
			})
			assert.Equal(t, viaSinks, s.sink.Posts() > 0)
		})
	}
}

// TestAnOrderIsConfirmedSoonAcrossProcesses measures the time from POST to confirmation, one order at a time. Without pokes
// each of two relays would wait up to two seconds for its sweep: below half a second only pokes can be the reason.
func TestAnOrderIsConfirmedSoonAcrossProcesses(t *testing.T) {
	s := deploy(t, false)
	s.call(t, http.MethodPut, "inventory-api", "/api/inventory/SKU-123", `{"availableQty":100000}`, http.StatusCreated)
	const warm, measured = 20, 100
	took := make([]time.Duration, 0, measured)
	for i := range warm + measured {
		begin := time.Now()
		s.await(t, s.place(t, "SKU-123", 1), "CONFIRMED")
		if i >= warm {
			took = append(took, time.Since(begin))
		}
	}
	slices.Sort(took)
	t.Logf("POST to CONFIRMED across %d processes: p50 %s, p90 %s, p99 %s", len(s.services),
		took[measured/2].Round(time.Millisecond), took[measured*9/10].Round(time.Millisecond), took[measured*99/100].Round(time.Millisecond))
	assert.Less(t, took[measured/2], 500*time.Millisecond)
}
