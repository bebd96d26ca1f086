package metrics

import (
	"encoding/binary"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"

	"example.com/orders/events"
)

// Batch is what became of the stored events of one batch.
type Batch struct {
	Sent []event.Event // acknowledged by the broker
	// Refused and Unknown count the others: those that the broker does not take, and those of which it said nothing.
	Refused, Unknown int
}

// statuses are the ends of a saga, by the fact that tells of them. A cancellation is not among them: when it comes is up
// to the customer.
var statuses = map[string]string{
	events.OrderConfirmedType: "CONFIRMED",
	events.OrderFailedType:    "FAILED",
}

// AddRelay makes the counters of the relay of a schema, and those of all facts.
func (m *Metrics) AddRelay(schema string) {
	if m == nil {
		return
	}
	m.batches.WithLabelValues(schema)
	for _, outcome := range []string{"sent", "refused", "unknown"} {
		m.relayed.WithLabelValues(schema, outcome)
	}
	m.relaying.WithLabelValues(schema)
	for _, fact := range events.Types() {
		m.facts.WithLabelValues(fact)
	}
	for _, status := range statuses {
		m.final.WithLabelValues(status)
	}
}

// CountBatch counts a batch of the relay of a schema, whose marks are committed, and the facts that it told. A fact that
// is told again, since the mark of the first time was lost, counts twice.
func (m *Metrics) CountBatch(schema string, b Batch, took time.Duration) {
	if m == nil {
		return
	}
	m.batches.WithLabelValues(schema).Inc()
	m.relaying.WithLabelValues(schema).Observe(took.Seconds())
	m.relayed.WithLabelValues(schema, "sent").Add(float64(len(b.Sent)))
	m.relayed.WithLabelValues(schema, "refused").Add(float64(b.Refused))
	m.relayed.WithLabelValues(schema, "unknown").Add(float64(b.Unknown))
	for _, e := range b.Sent {
		m.facts.WithLabelValues(e.Type()).Inc()
		if e.Type() == events.OrderConfirmedType {
			if fact, err := events.Decode[events.OrderConfirmed](e); err == nil {
				m.money.Add(float64(fact.TotalAmount))
			}
		}
		if status, ends := statuses[e.Type()]; ends {
			if accepted, ok := acceptedAt(e.Subject()); ok {
				m.final.WithLabelValues(status).Observe(max(0, e.Time().Sub(accepted).Seconds()))
			}
		}
	}
}

// acceptedAt is when an order was accepted, to the millisecond: the time in its id, a UUIDv7 (RFC 9562, section 5.7).
func acceptedAt(orderID string) (time.Time, bool) {
	id, err := uuid.Parse(orderID)
	if err != nil || id.Version() != 7 {
		return time.Time{}, false
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(id[:8]) >> 16)), true
}
