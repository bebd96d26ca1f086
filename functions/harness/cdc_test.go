package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/operate/backlog"
	"example.com/orders/functions/internal/operate/connect"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/privilege"
	"example.com/orders/sql/schema"
)

// captureStack is a stack beside a Kafka Connect, to which a test gives the connectors of an overlay.
func captureStack(t *testing.T, overlay string) stack {
	t.Helper()
	if os.Getenv(connect.URLVariable) == "" {
		t.Skip("CONNECT_URL is not set: .ci/run cdc starts what this test needs")
	}
	s := newStack(t)
	// Each function is a database user of its own, who may follow a connector, and none of them prepares outboxes.
	s.environ = append(s.environ, privilege.SecretVariable+"=secret-of-the-database-users")
	t.Cleanup(func() {
		p := launch(t, s.environ, "cdc", "remove", "--overlay", overlay, "--data", s.data)
		<-p.ended
		assert.NoError(t, p.err, p.log.String())
	})
	return s
}

// placing is orders that are placed until its end, through restarts of the harness.
type placing struct {
	stop  context.CancelFunc
	loop  sync.WaitGroup
	mutex sync.Mutex
	ids   []string
}

// keepPlacing fills the stock and begins to place orders.
func keepPlacing(t *testing.T, url func() string) *placing {
	t.Helper()
	first := process{url: url()}
	require.Equal(t, http.StatusOK, first.do(t, http.MethodPost, "/api/inventory/SKU-123/adjustments", nil, `{"delta":100000,"reason":"delivered"}`, nil))
	ctx, stop := context.WithCancel(t.Context())
	all := &placing{stop: stop}
	t.Cleanup(func() { all.end() })
	all.loop.Go(func() {
		pace := time.NewTicker(50 * time.Millisecond)
		defer pace.Stop()
		for n := 0; ; n++ {
			select {
			case <-pace.C:
			case <-ctx.Done():
				return
			}
			p := process{url: url()}
			var o order
			if p.do(t, http.MethodPost, "/api/orders", http.Header{"Idempotency-Key": {fmt.Sprint("load-", n)}}, body("SKU-123", 1), &o) == http.StatusCreated {
				all.mutex.Lock()
				all.ids = append(all.ids, o.OrderID)
				all.mutex.Unlock()
			}
		}
	})
	return all
}

// accepted returns how many orders were accepted so far.
func (p *placing) accepted() int {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return len(p.ids)
}

// last returns the order that was accepted last.
func (p *placing) last() string {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.ids[len(p.ids)-1]
}

// end places no more orders, and returns those that were accepted.
func (p *placing) end() (ids []string) {
	p.stop()
	p.loop.Wait()
	return p.ids
}

// Relays give way to connectors and come back, while orders are placed: the steps are those of the runbook.
func TestRelaysGiveWayToConnectorsAndComeBackUnderLoad(t *testing.T) {
	s := captureStack(t, "cdc")
	p := s.up(t)
	var mu sync.Mutex
	url := p.url
	load := keepPlacing(t, func() string { mu.Lock(); defer mu.Unlock(); return url })
	restart := func(args ...string) {
		p.stop(t)
		p = s.up(t, args...)
		mu.Lock()
		url = p.url
		mu.Unlock()
	}
	// The patience of the relays beside the connectors is longer than the wait for an order.
	confirmed := func(when string) {
		o := p.place(t, "SKU-456", 1)
		p.awaitStatus(t, o.OrderID, "CONFIRMED")
		d := s.databases(t)
		defer d.close()
		for name, facts := range map[string]int{schema.Orders: 2, schema.Inventory: 1} {
			p.await(t, when+": "+name+" has sent its facts about order "+o.OrderID, func() bool {
				return mysqltest.Count(t, d[name], "SELECT COUNT(*) FROM outbox WHERE aggregate_id = ? AND status = 'SENT' AND last_error IS NULL", o.OrderID) == facts
			})
		}
	}
	confirmed("relays publish")

	assert.Contains(t, s.operate(t, "", "cdc prepare --overlay cdc --dry-run"), "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO")
	s.operate(t, "", "cdc prepare --overlay cdc")
	confirmed("the outboxes have their columns")
	assert.Contains(t, s.operate(t, "", "cdc apply --overlay cdc"), "follows the binary log")
	restart("--overlay", "cdc")
	confirmed("connectors publish")
	assert.Contains(t, s.operate(t, "", "cdc status"), "RUNNING")
	p.awaitMetric(t, `orders_connector_running{connector="`+s.topicPrefix()+`outbox-orders"} 1`)

	// The next version of the table comes while the connectors read it.
	p.exec(t, schema.Orders, "ALTER TABLE outbox ADD COLUMN note VARCHAR(20) NULL DEFAULT 'x' AFTER shard")
	confirmed("the table has another column")

	s.operate(t, "", "cdc stop")
	restart("--overlay", "base")
	confirmed("relays publish again")

	ids := load.end()
	assert.Greater(t, len(ids), 20)
	for _, id := range ids {
		p.awaitStatus(t, id, "CONFIRMED")
	}
	p.await(t, "all events have left", func() bool { return s.operate(t, "", "outbox list --state new,waiting,parked --json") == "" })
	p.audit(t)
	assert.Equal(t, "inventory: 0 of ", strings.SplitAfter(s.operate(t, "", "outbox resend --since 1h --dry-run"), "of ")[0])
}

// A record that the broker refuses ends where that of a relay does, and lets the others pass.
func TestAnEventThatIsTooLargeIsParkedBesideTheConnectors(t *testing.T) {
	s := captureStack(t, "cdc")
	s.environ = append(s.environ, "OUTBOX_CDC_PATIENCE=5s")
	p := s.up(t, "--overlay", "cdc")
	s.operate(t, "", "cdc prepare")
	s.operate(t, "", "cdc apply")
	o := p.place(t, "SKU-123", 1)
	p.awaitStatus(t, o.OrderID, "CONFIRMED")
	// As large as the topic takes, and its headers.
	p.exec(t, schema.Orders, `INSERT INTO outbox (shard, aggregate_type, aggregate_id, type, payload, headers, created_at)
		SELECT shard, aggregate_type, aggregate_id, type, CONCAT('"', REPEAT('x', 1048588), '"'), REPLACE(headers, '"id":"', '"id":"large-'), NOW(6) FROM outbox WHERE type = 'order.confirmed' AND aggregate_id = ?`, o.OrderID)

	second := p.place(t, "SKU-123", 1)
	p.awaitStatus(t, second.OrderID, "CONFIRMED")
	var parked []rowView
	p.await(t, "the row is parked", func() bool {
		parked = lines[rowView](t, s.operate(t, "", "outbox list --state parked --json"))
		return len(parked) > 0
	})

	require.Len(t, parked, 1)
	assert.Equal(t, string(backlog.Parked), parked[0].State)
	assert.Contains(t, parked[0].LastError, "too large")
	assert.Contains(t, s.operate(t, "", "cdc status"), "RUNNING")
}

// Without Kafka Connect the events are relayed after a while, and what the connectors repeat later has no effect.
func TestOrdersAreConfirmedWithoutKafkaConnect(t *testing.T) {
	s := captureStack(t, "cdc")
	s.environ = append(s.environ, "OUTBOX_CDC_PATIENCE=1s")
	p := s.up(t, "--overlay", "cdc")
	s.operate(t, "", "cdc prepare")
	s.operate(t, "", "cdc apply")
	s.operate(t, "", "cdc stop")
	o := p.place(t, "SKU-123", 2)
	p.awaitStatus(t, o.OrderID, "CONFIRMED")
	p.awaitLog(t, "change data capture has not published events")
	p.audit(t)

	s.operate(t, "", "cdc resume")
	second := p.place(t, "SKU-123", 1)
	p.awaitStatus(t, second.OrderID, "CONFIRMED")
	p.await(t, "all events have left", func() bool { return s.operate(t, "", "outbox list --json") == "" })
	assert.Equal(t, level{97, 3}, p.level(t, "SKU-123"))
	p.audit(t)
}

// MySQL purges the part of its binary log that comes next: the steps are those of the runbook.
func TestWhatTheConnectorsHaveLostIsToldAndRepairedByCommands(t *testing.T) {
	s := captureStack(t, "cdc")
	s.environ = append(s.environ, "OUTBOX_CDC_PATIENCE=1h") // nothing is relayed by itself
	p := s.up(t, "--overlay", "cdc")
	s.operate(t, "", "cdc prepare")
	s.operate(t, "", "cdc apply")
	s.operate(t, "", "cdc stop")
	lost := p.place(t, "SKU-123", 2)
	p.exec(t, schema.Orders, "FLUSH BINARY LOGS")
	p.exec(t, schema.Orders, "PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY")
	s.operate(t, "", "cdc resume")
	p.await(t, "a connector says why it has failed", func() bool {
		status := launch(t, s.environ, "cdc", "status", "--data", s.data)
		<-status.ended
		return strings.Contains(status.stdout.String(), "no longer available on the server")
	})

	s.operate(t, "", "cdc reset")
	later := p.place(t, "SKU-123", 1)
	p.awaitStatus(t, later.OrderID, "CONFIRMED")
	assert.Equal(t, "PENDING", p.order(t, lost.OrderID).Status)
	p.await(t, "the loss is told", func() bool {
		return strings.Contains(s.operate(t, "", "outbox resend --since 1h --dry-run"), "order.created of "+lost.OrderID+" has no record")
	})
	assert.Contains(t, s.operate(t, "", "outbox resend --since 1h"), "orders: 1 of ")

	p.awaitStatus(t, lost.OrderID, "CONFIRMED")
	p.await(t, "all events have left", func() bool { return s.operate(t, "", "outbox list --json") == "" })
	assert.Equal(t, level{97, 3}, p.level(t, "SKU-123"))
	p.audit(t)
}

// A connector keeps its schema history with clients of its own, which log in too where the brokers require it.
func TestConnectorsLogInToKafkaForTheirSchemaHistory(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	applied := map[string]map[string]string{}
	worker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPut:
			var config map[string]string
			assert.NoError(t, json.NewDecoder(r.Body).Decode(&config))
			mu.Lock()
			applied[r.URL.Path] = config
			mu.Unlock()
		case strings.HasSuffix(r.URL.Path, "/status"):
			fmt.Fprint(w, `{"connector": {"state": "RUNNING"}, "tasks": [{"state": "RUNNING"}]}`)
		default:
			fmt.Fprint(w, `{"offsets": [{"partition": {"server": "s"}, "offset": {"file": "binlog.000001", "pos": 4}}]}`)
		}
	}))
	t.Cleanup(worker.Close)
	s := stack{data: t.TempDir(), environ: []string{"CONNECT_URL=" + worker.URL, "HARNESS_OVERLAY="}}
	login := func() map[string]string {
		s.operate(t, "", "cdc apply --overlay cdc")
		mu.Lock()
		defer mu.Unlock()
		logins := map[string]string{}
		for name, value := range applied["/connectors/outbox-orders/config"] {
			if client, ok := strings.CutPrefix(name, "schema.history.internal."); ok && !strings.HasPrefix(client, "kafka.") {
				logins[client] = value
			}
		}
		return logins
	}
	assert.Empty(t, login())

	s.environ = append(s.environ, "KAFKA_SASL_MECHANISM=SCRAM-SHA-512", "KAFKA_SASL_USER=admin", "KAFKA_SASL_PASSWORD=never-in-a-connector")
	assert.Equal(t, map[string]string{
		"producer.security.protocol": "SASL_PLAINTEXT", "producer.sasl.mechanism": "SCRAM-SHA-512", "producer.sasl.jaas.config": "${env:CDC_KAFKA_LOGIN}",
		"consumer.security.protocol": "SASL_PLAINTEXT", "consumer.sasl.mechanism": "SCRAM-SHA-512", "consumer.sasl.jaas.config": "${env:CDC_KAFKA_LOGIN}",
	}, login())
	mu.Lock()
	assert.Len(t, applied, 2)
	assert.NotContains(t, fmt.Sprint(applied), "never-in-a-connector")
	mu.Unlock()
	assert.Equal(t, `org.apache.kafka.common.security.scram.ScramLoginModule required username="admin" password="never-in-a-connector";`+"\n",
		s.operate(t, "", "cdc login --overlay cdc"))
}

func TestCommandsAboutConnectorsSayWhatIsMissing(t *testing.T) {
	t.Parallel()
	s := stack{data: t.TempDir(), environ: []string{"CONNECT_URL=", "HARNESS_OVERLAY="}}
	s.operate(t, "this wiring has no connectors: give --overlay cdc, or cdc-payment", "cdc status")
	s.operate(t, `CONNECT_URL is "": give the address of Kafka Connect`, "cdc status --overlay cdc")
	s.operate(t, "give how far back to look with --since, such as 2h", "outbox resend")
	s.environ = append(s.environ, "CDC_MYSQL_USER=cdc", "CDC_MYSQL_PASSWORD=", "MYSQL_DSN=root@tcp(127.0.0.1:1)/")
	s.operate(t, "give both CDC_MYSQL_USER and CDC_MYSQL_PASSWORD", "cdc prepare --overlay cdc")
}
