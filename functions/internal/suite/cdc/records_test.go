package cdc

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/operate/connect"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/knative"
	"example.com/orders/sql/schema"
)

// record is what consumers see of a record.
type record struct {
	Topic     string
	Partition int32
	Key       string
	Headers   []string
	Value     string
}

// seen returns the records of all topics with events, those of a partition in order, and the number of all.
func seen(t *testing.T, c kafkatest.Cluster, wiring *knative.Wiring) (all map[string][]record, n int) {
	t.Helper()
	all, n, err := read(t, c, wiring)
	require.NoError(t, err)
	return all, n
}

// read is seen for a broker that may be away.
func read(t *testing.T, c kafkatest.Cluster, wiring *knative.Wiring) (all map[string][]record, n int, err error) {
	t.Helper()
	reader, err := kafka.NewReader(c.Brokers, nil)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	all = map[string][]record{}
	for _, topic := range wiring.Topics {
		spans, err := reader.Spans(topic.Name)
		if err != nil {
			return nil, 0, err
		}
		for _, span := range spans {
			name := strings.TrimPrefix(topic.Name, c.Prefix)
			at := fmt.Sprintf("%s/%d", name, span.Partition)
			if err := reader.Read(t.Context(), span, func(m *sarama.ConsumerMessage) error {
				r := record{Topic: name, Partition: m.Partition, Key: string(m.Key), Value: string(m.Value)}
				for _, h := range m.Headers {
					r.Headers = append(r.Headers, fmt.Sprintf("%s=%q", h.Key, h.Value))
				}
				slices.Sort(r.Headers) // those of extensions are in the order of a map
				all[at] = append(all[at], r)
				n++
				return nil
			}); err != nil {
				return nil, 0, err
			}
		}
	}
	return all, n, nil
}

// variety has one event of each type, and events with everything that may be missing or hard to quote.
func variety(t *testing.T, name string) (all []event.Event) {
	t.Helper()
	for _, kind := range events.Types() {
		if events.SourceOf(kind) != "/"+name {
			continue
		}
		for range 20 { // so that each partition has some
			all = append(all, functiontest.Golden(t, kind, 1))
		}
		for n, change := range []func(*event.Event){
			func(e *event.Event) { e.SetExtension("correlationid", nil) },
			func(e *event.Event) { e.SetExtension("causationid", nil) },
			func(e *event.Event) { e.SetExtension("correlationid", nil); e.SetExtension("causationid", nil) },
			func(e *event.Event) {
				e.SetExtension("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
			},
			func(e *event.Event) {
				e.SetExtension("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
				e.SetExtension("tracestate", "vendor=a b,other="+strings.Repeat("x", 400))
			},
			func(e *event.Event) { e.SetDataSchema("https://example.com/schemas/" + kind) },
			func(e *event.Event) { e.SetExtension("correlationid", `~ "quoted" 'single' \ back <&> null`) },
			func(e *event.Event) { e.SetExtension("correlationid", "null"); e.SetExtension("causationid", "1.0") },
			func(e *event.Event) { e.SetTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) },
			func(e *event.Event) { e.SetTime(time.Date(2026, 1, 2, 3, 4, 5, 120_000_000, time.UTC)) },
			func(e *event.Event) {
				e.DataEncoded = []byte(`{ "text" : "Grüße, 世界 🛒 ' \" \\ \u0001",  "n": 1.0 }` + "\n")
			},
			func(e *event.Event) { e.DataEncoded = []byte(`"` + strings.Repeat("ä", 500_000) + `"`) },
		} {
			e := functiontest.Golden(t, kind, 2+n)
			change(&e)
			all = append(all, e)
		}
	}
	return all
}

// flows has all facts of a schema about some orders, in an order in which they may happen, those of one order between those of the
// others. Some of an order are of one type, so they must stay in order: their topic has them in one partition.
func flows(t *testing.T, name string) (all []event.Event) {
	t.Helper()
	facts := map[string][]string{
		schema.Orders:    {events.OrderCreatedType, events.OrderConfirmedType, events.OrderFailedType, events.OrderCanceledType, events.OrderCanceledType, events.OrderCreatedType},
		schema.Inventory: {events.InventoryReservedType, events.InventoryRejectedType, events.InventoryReleasedType, events.InventoryReleasedType, events.InventoryReservedType},
		schema.Payments:  {events.PaymentAuthorizedType, events.PaymentDeclinedType, events.PaymentRefundedType, events.PaymentRefundedType, events.PaymentAuthorizedType},
	}[name]
	require.Subset(t, facts, slices.DeleteFunc(events.Types(), func(kind string) bool { return events.SourceOf(kind) != "/"+name }))
	for range 30 {
		id := functiontest.OrderID()
		for n, kind := range facts {
			e := functiontest.Golden(t, kind, n+1)
			e.DataEncoded = bytes.ReplaceAll(e.Data(), []byte(e.Subject()), []byte(id))
			e.SetID(fmt.Sprintf("%s#%d", id, n+1))
			e.SetSubject(id)
			e.SetExtension("partitionkey", id)
			all = append(all, e)
		}
	}
	slices.SortStableFunc(all, func(a, b event.Event) int { // the first facts of all orders, then the second ones
		return cmp.Compare(a.ID()[len(a.Subject()):], b.ID()[len(b.Subject()):])
	})
	return all
}

// relayTo publishes the outbox of a schema as a relay does.
func (s *system) relayTo(c kafkatest.Cluster, name string) (sent int) {
	s.Helper()
	return s.relay(c, outbox.Relay{DB: s.pool(name)})
}

// relayDue publishes what the connector has left out, as a relay beside it does.
func (s *system) relayDue(c kafkatest.Cluster, name string) (sent int) {
	s.Helper()
	return s.relay(c, outbox.Relay{DB: s.pool(name), DueOnly: true})
}

func (s *system) relay(c kafkatest.Cluster, r outbox.Relay) (sent int) {
	s.Helper()
	sent, err := s.sweep(c, r)
	require.NoError(s, err)
	return sent
}

func (s *system) sweep(c kafkatest.Cluster, r outbox.Relay) (sent int, err error) {
	s.Helper()
	p := kafka.NewProducer(c.Brokers, c.Prefix, slog.New(slog.DiscardHandler))
	defer func() { require.NoError(s, p.Close()) }()
	r.Publisher, r.Now = p, time.Now
	return r.Sweep(s.Context())
}

// arrived returns once the topics have n records or more, and returns them.
func (s *system) arrived(n int) map[string][]record {
	s.Helper()
	var all map[string][]record
	got := 0
	s.await(fmt.Sprintf("%d records have arrived", n), func() bool {
		all, got = seen(s.T, s.Cluster, s.wiring)
		for _, c := range s.connectors() {
			status, err := s.connect.Status(s.Context(), c.Name)
			require.NoError(s, err)
			require.Equal(s, connect.Running, status.State(), "%s: %s", c.Name, status.Trace)
		}
		return got >= n
	})
	return all
}

func TestTheConnectorsPublishTheRecordsOfTheRelaysByteByByte(t *testing.T) {
	s := start(t, "cdc-payment")
	s.capture()
	relayed := kafkatest.Start(t)
	w := s.topicsOf("payment", relayed)
	stored := 0
	for _, name := range schema.WithOutbox {
		all := append(variety(t, name), flows(t, name)...)
		outboxtest.Store(t, s.pool(name), time.Now(), all...)
		stored += len(all)
		require.Equal(t, len(all), s.relayTo(relayed, name))
	}
	want, n := seen(t, relayed, w)
	require.Equal(t, stored, n)

	got := s.arrived(n)

	for at := range want {
		require.Len(t, got[at], len(want[at]), at)
		if at != "" && !assert.Equal(t, inOrder(want[at]), inOrder(got[at]), at) {
			return // one difference is enough to read
		}
	}
	assert.Len(t, got, len(want))
	assertAscending(t, got)
}

// assertAscending asserts that the facts of an order in a partition are in the order in which they happened.
func assertAscending(t *testing.T, all map[string][]record) {
	t.Helper()
	several := 0
	for at, records := range all {
		last := map[string]int{}
		for _, r := range records {
			i := slices.IndexFunc(r.Headers, func(h string) bool { return strings.HasPrefix(h, "ce_id=") })
			require.GreaterOrEqual(t, i, 0, at)
			id, err := strconv.Unquote(strings.TrimPrefix(r.Headers[i], "ce_id="))
			require.NoError(t, err)
			order, n, err := events.ParseID(id)
			require.NoError(t, err)
			require.Equal(t, r.Key, order, "the key is the order's id")
			if last[order] > 0 {
				several++
			}
			assert.Greater(t, n, last[order], "%s: %s", at, id)
			last[order] = n
		}
	}
	assert.Greater(t, several, 100, "topics have several facts of one order")
}

// inOrder sorts records by their key, and leaves those of one key in order.
func inOrder(records []record) []record {
	sorted := slices.Clone(records)
	slices.SortStableFunc(sorted, func(a, b record) int { return cmp.Compare(a.Key, b.Key) })
	return sorted
}
