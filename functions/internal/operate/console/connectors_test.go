package console_test

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"

	"example.com/orders/events"
	"example.com/orders/functions/internal/operate/connect"
	"example.com/orders/functions/internal/operate/console"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/sql/schema"
)

// drawnPublishers is what the topology says of the publishers.
type drawnPublishers struct {
	Publishers []struct {
		Name, Outbox string
		Connector    bool
	}
	Topics []struct{ Name, Outbox string }
}

func (b *bench) publishers() (names map[string]string, connectors map[string]bool, d drawnPublishers) {
	b.t.Helper()
	b.do(http.MethodGet, "/console/topology", "", &d)
	names, connectors = map[string]string{}, map[string]bool{}
	for _, p := range d.Publishers {
		names[p.Outbox], connectors[p.Outbox] = p.Name, p.Connector
	}
	return names, connectors, d
}

type captured map[string]struct{ State, Reason string }

func TestTheFlowHasTheRelayOfEachOutbox(t *testing.T) {
	b := newBenchOn(t, "payment")
	names, connectors, drawn := b.publishers()
	assert.Equal(t, map[string]string{"orders": "publish-outbox-orders", "inventory": "publish-outbox-inventory", "payments": "publish-outbox-payments"}, names)
	assert.Equal(t, map[string]bool{"orders": false, "inventory": false, "payments": false}, connectors)
	for _, topic := range drawn.Topics {
		assert.Equal(t, events.SourceOf(topic.Name), "/"+topic.Outbox, topic.Name)
		assert.Contains(t, names, topic.Outbox)
	}
	assert.Empty(t, watch(b, "connectors", func(captured) bool { return true }))
}

func TestTheFlowHasTheConnectorOfEachOutboxWithItsState(t *testing.T) {
	var away atomic.Bool
	var prefix string
	b := newBenchWith(t, "cdc", func(o *console.Options) {
		prefix = o.TopicPrefix
		o.Connectors = func(context.Context) (map[string]connect.Status, error) {
			if away.Load() {
				return nil, errors.New("connection refused")
			}
			return map[string]connect.Status{
				prefix + "outbox-orders":    {Connector: connect.Running, Task: connect.Running},
				prefix + "outbox-inventory": {Connector: connect.Running, Task: connect.Failed, Trace: "first\n\tat line\nCaused by: the log is gone\n"},
			}, nil
		}
	})
	names, connectors, _ := b.publishers()
	assert.Equal(t, map[string]string{"orders": "outbox-orders", "inventory": "outbox-inventory"}, names)
	assert.Equal(t, map[string]bool{"orders": true, "inventory": true}, connectors)
	assert.Equal(t, captured{"orders": {"RUNNING", ""}, "inventory": {"FAILED", "the log is gone"}}, watch(b, "connectors", func(c captured) bool { return len(c) == 2 }))

	away.Store(true)
	const why = "connection refused"
	assert.Equal(t, captured{"orders": {"UNKNOWN", why}, "inventory": {"UNKNOWN", why}}, watch(b, "connectors", func(c captured) bool { return c["orders"].State == "UNKNOWN" }))
}

// A parked row waits for an operator and not for its publisher.
func TestTheLagOfAnOutboxIsThatOfItsPublisher(t *testing.T) {
	b := newBench(t)
	created := func() { b.store(schema.Orders, functiontest.Golden(t, events.OrderCreatedType, 1)) }
	created()
	exec := func(statement string) {
		_, err := b.pool(schema.Orders).ExecContext(t.Context(), statement)
		assert.NoError(t, err)
	}
	exec("UPDATE outbox SET status = 'ERROR', attempts = 10, last_error = 'too large', created_at = created_at - INTERVAL 1 DAY")
	created()
	exec("UPDATE outbox SET created_at = created_at - INTERVAL 1 HOUR WHERE status = 'NEW'")
	type outboxes map[string]struct{ Waiting, OldestSeconds, LagSeconds int }
	all := watch(b, "outboxes", func(o outboxes) bool { return o["orders"].Waiting == 2 })
	assert.InDelta(t, 3600, all["orders"].LagSeconds, 300)
	assert.InDelta(t, 86400, all["orders"].OldestSeconds, 300)
	assert.Zero(t, all["inventory"].LagSeconds)
}
