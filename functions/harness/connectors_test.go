package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/servicetest"
	"example.com/orders/sql/schema"
)

// alone starts a harness whose relays send nothing that the connectors leave out, and its connectors.
func (s *stack) alone(t *testing.T, overlay string) *process {
	t.Helper()
	s.environ = append(s.environ, "OUTBOX_CDC_PATIENCE=1h")
	p := s.up(t, "--overlay", overlay)
	s.operate(t, "", "cdc prepare")
	s.operate(t, "", "cdc apply")
	return p
}

// left returns once all rows of these outboxes are sent, and asserts that none was left to a relay.
func (p *process) left(t *testing.T, names ...string) {
	t.Helper()
	d := p.stack.databases(t)
	defer d.close()
	for _, name := range names {
		p.await(t, "all events of "+name+" have left", func() bool {
			return mysqltest.Count(t, d[name], "SELECT COUNT(*) FROM outbox WHERE status <> 'SENT'") == 0
		})
		assert.Positive(t, mysqltest.Count(t, d[name], "SELECT COUNT(*) FROM outbox"), name)
		assert.Zero(t, mysqltest.Count(t, d[name], "SELECT COUNT(*) FROM outbox WHERE last_error IS NOT NULL OR attempts > 0"), name)
	}
}

// The broker dies while orders flow, and starts again on its data. No relay helps here: what the connectors lost would stay lost.
func TestOrdersFlowThroughConnectorsWhoseBrokerIsKilled(t *testing.T) {
	s := captureStack(t, "cdc")
	p := s.alone(t, "cdc")
	load := keepPlacing(t, func() string { return p.url })
	more := func(when string) {
		from := load.accepted()
		p.await(t, "orders are accepted "+when, func() bool { return load.accepted() >= from+20 })
	}
	first := p.place(t, "SKU-456", 1)
	p.awaitStatus(t, first.OrderID, "CONFIRMED")
	more("before")
	broker := servicetest.Of(t, "kafka", "kafka-*")
	broker.Kill()
	more("without a broker")
	meanwhile := load.last()
	broker.Start()
	more("again")
	d := s.databases(t)
	defer d.close()
	p.await(t, "the connectors publish again", func() bool {
		return mysqltest.Count(t, d[schema.Orders], "SELECT COUNT(*) FROM outbox WHERE aggregate_id = ? AND status = 'SENT'", meanwhile) > 0
	})

	for _, id := range load.end() {
		p.awaitStatus(t, id, "CONFIRMED")
	}

	p.left(t, schema.Orders, schema.Inventory)
	assert.NotContains(t, s.operate(t, "", "cdc status"), "FAILED")
	p.audit(t)
}

// Three connectors and no relay carry an order that is paid, one that is declined, and the refund of one that is canceled.
func TestOrdersArePaidAndRefundedThroughConnectors(t *testing.T) {
	s := captureStack(t, "cdc-payment")
	p := s.alone(t, "cdc-payment")

	kept, canceled, declined := p.placeFor(t, 1299), p.placeFor(t, 1299), p.placeFor(t, 1201)
	p.awaitStatus(t, kept.OrderID, "CONFIRMED")
	p.awaitStatus(t, canceled.OrderID, "CONFIRMED")
	p.awaitStatus(t, declined.OrderID, "FAILED")
	assert.Equal(t, "card_declined", p.order(t, declined.OrderID).Reason)
	require.Equal(t, http.StatusOK, p.do(t, http.MethodPost, "/api/orders/"+canceled.OrderID+"/cancel", nil, "", nil))

	topics := p.topics(t)
	assert.Equal(t, canceled.OrderID, string(topics.Records(t, topics.Prefix+"payment.refunded", 1)[0].Key))
	p.await(t, "the stock is back", func() bool { return p.level(t, "SKU-123") == level{99, 1} })
	p.left(t, schema.Orders, schema.Inventory, schema.Payments)
	assert.Equal(t, 3, strings.Count(s.operate(t, "", "cdc status"), " RUNNING "))
	p.audit(t)
}

// recordsOf returns how many records of order.created are about an order.
func (p *process) recordsOf(t *testing.T, o order) (n int) {
	t.Helper()
	topics := p.topics(t)
	for _, r := range topics.All(t, topics.Prefix+"order.created") {
		if string(r.Key) == o.OrderID {
			n++
		}
	}
	return n
}

// Connectors that come back after a while would go on where they were, which the binary log no longer has.
func TestConnectorsThatComeBackStartAnewOnceTheirPositionsAreForgotten(t *testing.T) {
	s := captureStack(t, "cdc")
	p := s.up(t) // whose relays publish all the time
	arrive := func() {
		s.operate(t, "", "cdc prepare --overlay cdc")
		s.operate(t, "", "cdc apply --overlay cdc")
	}
	arrive()
	before := p.place(t, "SKU-123", 1)
	p.await(t, "a relay and a connector have published it", func() bool { return p.recordsOf(t, before) == 2 })
	assert.Contains(t, s.operate(t, "", "cdc remove --overlay cdc --forget"), "outbox-orders: removed, and its position forgotten\n")
	between := p.place(t, "SKU-123", 1)
	p.awaitStatus(t, between.OrderID, "CONFIRMED")
	p.exec(t, schema.Orders, "FLUSH BINARY LOGS")
	p.exec(t, schema.Orders, "PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY")

	arrive()

	after := p.place(t, "SKU-123", 1)
	p.await(t, "a relay and a connector have published it", func() bool { return p.recordsOf(t, after) == 2 })
	assert.Equal(t, 2, p.recordsOf(t, before))
	assert.Equal(t, 1, p.recordsOf(t, between))
	s.operate(t, "", "cdc remove --overlay cdc")
	assert.Contains(t, s.operate(t, "", "cdc remove --overlay cdc --forget"), "outbox-orders: was not there; a position that it has left stays\n")
}

// A task that still runs stores its position once more when it ends, so that one that was removed before would be back.
func TestConnectorsForgetTheirPositionsOnceTheirTasksAreGone(t *testing.T) {
	t.Parallel()
	const ending = 2 // how often a stopped connector still has its task
	var mu sync.Mutex
	asked, stopped := map[string]int{}, map[string]bool{}
	worker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		name, request, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/connectors/"), "/")
		switch r.Method + " " + request {
		case "PUT stop", "PUT resume":
			stopped[name] = request == "stop"
		case "GET status":
			if asked[name]++; stopped[name] && asked[name] > ending {
				fmt.Fprint(w, `{"connector": {"state": "STOPPED"}, "tasks": []}`)
				return
			}
			state := map[bool]string{true: "STOPPED", false: "RUNNING"}[stopped[name]]
			fmt.Fprintf(w, `{"connector": {"state": %q}, "tasks": [{"state": "RUNNING"}]}`, state)
		case "DELETE offsets":
			assert.True(t, stopped[name], name)
			assert.Greater(t, asked[name], ending, "%s has its task", name)
		default:
			fmt.Fprint(w, `{"offsets": [{"partition": {"server": "s"}, "offset": {"file": "binlog.000001", "pos": 4}}]}`)
		}
	}))
	t.Cleanup(worker.Close)
	s := stack{data: t.TempDir(), environ: []string{"CONNECT_URL=" + worker.URL, "HARNESS_OVERLAY="}}

	said := s.operate(t, "", "cdc reset --overlay cdc")

	assert.Equal(t, "outbox-orders: starts at the end of the binary log\noutbox-inventory: starts at the end of the binary log\n", said)
}
