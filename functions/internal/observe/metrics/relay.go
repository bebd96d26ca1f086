package metrics

import (
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"

	"example.com/orders/events"
)

// Batch is the result of one batch of stored events.
type Batch struct {
	Sent []event.Event // acknowledged by the broker
	// Refused and Unknown count the other events: refused by the broker, and of unknown fate.
	Refused, Unknown int
}

// statuses maps the facts that end a saga to the status of the order. Cancellations are not included: their time depends on
// the customer.
var statuses = map[string]string{
	events.OrderConfirmedType: "CONFIRMED",
	events.OrderFailedType:    "FAILED",
}

// AddRelay creates the counters of the relay of a schema, and those of all facts.
func (m *Metrics) AddRelay(schema string) {
	if m == nil {
		return
	}
	m.batches.Add(0, schema)
	for _, outcome := range []string{"sent", "refused", "unknown"} {
		m.relayed.Add(0, schema, outcome)
	}
	m.relaying.Create(schema)
	for _, fact := range events.Types() {
		m.facts.Add(0, fact)
	}
	for _, status := range statuses {
		m.final.Create(status)
	}
}

// CountBatch counts a batch of a schema, and the facts that it emitted: one of the relay after the commit of its marks, one of the
// dispatcher when the broker has answered. A duplicate, sent again because its mark was lost, counts twice.
func (m *Metrics) CountBatch(schema string, b Batch, took time.Duration) {
	if m == nil {
		return
	}
	m.batches.Add(1, schema)
	m.relaying.Observe(took.Seconds(), schema)
	m.relayed.Add(float64(len(b.Sent)), schema, "sent")
	m.relayed.Add(float64(b.Refused), schema, "refused")
	m.relayed.Add(float64(b.Unknown), schema, "unknown")
	for _, e := range b.Sent {
		m.facts.Add(1, e.Type())
		if e.Type() == events.OrderConfirmedType {
			// Its maker and its consumer check all of it.
			var fact struct {
				TotalAmount float64 `json:"totalAmount"`
			}
			if json.Unmarshal(e.Data(), &fact) == nil {
				m.money.Add(fact.TotalAmount)
			}
		}
		if status, ends := statuses[e.Type()]; ends {
			if accepted, ok := acceptedAt(e.Subject()); ok {
				m.final.Observe(max(0, e.Time().Sub(accepted).Seconds()), status)
			}
		}
	}
}

// acceptedAt returns the time of an order's acceptance in milliseconds, from its id, a UUIDv7 (RFC 9562, section 5.7).
func acceptedAt(orderID string) (time.Time, bool) {
	id, err := uuid.Parse(orderID)
	if err != nil || id.Version() != 7 {
		return time.Time{}, false
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(id[:8]) >> 16)), true
}
