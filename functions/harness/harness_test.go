package main

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/functions/internal/testkit/porttest"
	"example.com/orders/knative"
)

func body(sku string, quantity int) string {
	return fmt.Sprintf(`{"customerEmail":"alice@example.com","items":[{"sku":%q,"quantity":%d,"unitPrice":1299}]}`, sku, quantity)
}

func (p *process) place(t testing.TB, sku string, quantity int) order {
	t.Helper()
	var o order
	require.Equal(t, http.StatusCreated, p.do(t, http.MethodPost, "/api/orders", nil, body(sku, quantity), &o))
	require.Equal(t, "PENDING", o.Status)
	return o
}

func TestOrderGoesFromPostToMail(t *testing.T) {
	t.Parallel()
	p := newStack(t).up(t)

	o := p.place(t, "SKU-123", 2)

	p.awaitStatus(t, o.OrderID, "CONFIRMED")
	p.awaitLog(t, "Email to a…e@example.com: your order "+o.OrderID+" is CONFIRMED")
	assert.Equal(t, int64(2598), p.order(t, o.OrderID).TotalAmount)
	assert.Equal(t, level{98, 2}, p.level(t, "SKU-123"))
	p.audit(t)
	p.stop(t)
	assert.NotContains(t, p.log.String(), "level=ERROR")
}

func TestAnOrderForMoreThanTheStockFails(t *testing.T) {
	t.Parallel()
	p := newStack(t).up(t)

	o := p.place(t, "SKU-789", 6)

	p.awaitStatus(t, o.OrderID, "FAILED")
	p.awaitLog(t, "Email to a…e@example.com: your order "+o.OrderID+" is FAILED")
	assert.Equal(t, "out_of_stock", p.order(t, o.OrderID).Reason)
	assert.Equal(t, level{5, 0}, p.level(t, "SKU-789"))
	p.audit(t)
}

func TestCanceledOrderGivesItsStockBack(t *testing.T) {
	t.Parallel()
	p := newStack(t).up(t)
	o := p.place(t, "SKU-123", 2)
	p.awaitStatus(t, o.OrderID, "CONFIRMED")

	for range 3 {
		var canceled order
		require.Equal(t, http.StatusOK, p.do(t, http.MethodPost, "/api/orders/"+o.OrderID+"/cancel", nil, "", &canceled))
		assert.Equal(t, order{OrderID: o.OrderID, Status: "CANCELED"}, canceled)
	}

	p.await(t, "the stock is back", func() bool { return p.level(t, "SKU-123") == level{100, 0} })
	p.awaitLog(t, "Email to a…e@example.com: your order "+o.OrderID+" is CANCELED")
	p.audit(t)
}

func TestEveryFunctionIsServedAsWhenItIsDeployed(t *testing.T) {
	t.Parallel()
	p := newStack(t).up(t)
	var o order
	event := http.Header{"Ce-Specversion": {"1.0"}, "Ce-Type": {"order.create"}, "Ce-Source": {"/test"}, "Ce-Id": {"1"}}
	require.Equal(t, http.StatusCreated, p.do(t, http.MethodPost, "/functions/create-order", event, body("SKU-456", 1), &o))
	p.awaitStatus(t, o.OrderID, "CONFIRMED")
	require.Equal(t, http.StatusOK, p.get(t, "/functions/orders-api/api/orders/"+o.OrderID, &o))

	event.Set("Ce-Type", "type.unknown")
	wiring, err := knative.Load(knative.Base())
	require.NoError(t, err)
	for _, service := range wiring.Services {
		want := http.StatusUnprocessableEntity
		switch service.Function {
		case "createorder":
			want = http.StatusBadRequest
		case "ordersapi", "inventoryapi":
			want = http.StatusNotFound // at /, which they do not serve
		}
		assert.Equal(t, want, p.do(t, http.MethodPost, "/functions/"+service.Name, event, "{}", nil), service.Name)
	}
	p.audit(t)
}

func TestNoRequestToAFunctionEndsTheHarness(t *testing.T) {
	t.Parallel()
	p := newStack(t).up(t)
	for _, name := range []string{"notify", "create-order", "publish-outbox-orders"} {
		functiontest.Abuse(t, p.url+"/functions/"+name, p.cmd.Process.Pid)
	}
	assert.Equal(t, http.StatusOK, p.get(t, "/health", nil))
	p.stop(t)
}

func TestOneCorrelationIDIsInEveryRecordAndLogLineOfAnOrder(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	p := s.up(t)
	var o order
	header := http.Header{"X-Correlation-Id": {"my-flow.1"}}
	require.Equal(t, http.StatusCreated, p.do(t, http.MethodPost, "/api/orders", header, body("SKU-123", 1), &o))
	p.awaitLog(t, "your order "+o.OrderID+" is CONFIRMED")

	topics := p.topics(t)
	for _, topic := range []string{"order.created", "inventory.reserved", "order.confirmed"} {
		record := topics.Records(t, topics.Prefix+topic, 1)[0]
		assert.Equal(t, o.OrderID, string(record.Key), topic)
		headers := map[string]string{}
		for _, h := range record.Headers {
			headers[string(h.Key)] = string(h.Value)
		}
		assert.Equal(t, "my-flow.1", headers["ce_correlationid"], topic)
		assert.Equal(t, o.OrderID, headers["ce_subject"], topic)
		assert.Equal(t, topic, headers["ce_type"])
	}
	for line := range strings.Lines(p.log.String()) {
		if strings.Contains(line, o.OrderID) {
			assert.Contains(t, line, "correlation_id=my-flow.1")
		}
	}
	p.audit(t)
}

// brokers finds the Kafka of a running harness like other commands do.
func (p *process) brokers(t *testing.T, s stack) []string {
	t.Helper()
	run, err := readRun(s.data)
	require.NoError(t, err)
	return strings.Split(run.Brokers, ",")
}

// topics has the topics of a running harness that up has started.
func (p *process) topics(t *testing.T) kafkatest.Cluster {
	t.Helper()
	return kafkatest.Cluster{Brokers: p.brokers(t, p.stack), Prefix: p.stack.topicPrefix(), Password: p.stack.variable("KAFKA_SASL_PASSWORD")}
}

func (s stack) topicPrefix() string {
	return s.variable("KAFKA_TOPIC_PREFIX")
}

func TestStockIsNeverOversold(t *testing.T) {
	t.Parallel()
	p := newStack(t).up(t)
	const units, orders, clients = 40, 200, 16
	require.Equal(t, http.StatusCreated, p.do(t, http.MethodPut, "/api/inventory/FEW", nil, fmt.Sprintf(`{"availableQty":%d}`, units), nil))

	var mu sync.Mutex
	var ids []string
	var group sync.WaitGroup
	var next atomic.Int32
	for range clients {
		group.Go(func() {
			for next.Add(1) <= orders {
				o := p.place(t, "FEW", 1)
				mu.Lock()
				ids = append(ids, o.OrderID)
				mu.Unlock()
			}
		})
	}
	group.Wait()

	confirmed := 0
	for _, id := range ids {
		p.await(t, "order "+id+" has ended", func() bool { return p.order(t, id).Status != "PENDING" })
		if p.order(t, id).Status == "CONFIRMED" {
			confirmed++
		}
	}
	assert.Equal(t, units, confirmed)
	assert.Equal(t, level{0, units}, p.level(t, "FEW"))
	p.audit(t)
}

func TestAcceptedOrdersSurviveKillAndRestart(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	p := s.up(t)
	var mu sync.Mutex
	var accepted []string
	var group sync.WaitGroup
	enough := make(chan struct{})
	for range 8 {
		group.Go(func() {
			for {
				var o order
				if p.do(t, http.MethodPost, "/api/orders", nil, body("SKU-123", 1), &o) != http.StatusCreated {
					return // killed
				}
				mu.Lock()
				accepted = append(accepted, o.OrderID)
				if len(accepted) == 60 {
					close(enough)
				}
				mu.Unlock()
			}
		})
	}
	<-enough
	p.kill(t)
	group.Wait()

	p = s.up(t)

	confirmed := 0
	for _, id := range accepted {
		p.await(t, "order "+id+" has ended", func() bool { return p.order(t, id).Status != "PENDING" })
		if p.order(t, id).Status == "CONFIRMED" {
			confirmed++
		}
	}
	// Orders without an answer may exist, too.
	p.await(t, "no order is pending", func() bool {
		var page struct {
			Orders []order `json:"orders"`
		}
		return p.get(t, "/api/orders?status=PENDING", &page) == http.StatusOK && len(page.Orders) == 0
	})
	l := p.level(t, "SKU-123")
	assert.Equal(t, 100, l.AvailableQty+l.ReservedQty)
	assert.GreaterOrEqual(t, l.ReservedQty, confirmed)
	assert.GreaterOrEqual(t, confirmed, min(60, 100))
	p.audit(t)
	p.stop(t)

	p = s.up(t)
	assert.Equal(t, l, p.level(t, "SKU-123"), "the sample stock is made once")
}

func TestSecondHarnessOnAFolderIsRefused(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	first := s.up(t)

	second := launch(t, s.environ, "--addr", porttest.Address(t), "--data", s.data)

	<-second.ended
	require.Error(t, second.err)
	assert.Contains(t, second.log.String(), fmt.Sprintf("in use by another harness (pid %d on %s)", first.cmd.Process.Pid, strings.TrimPrefix(first.url, "http://")))
	assert.Contains(t, second.log.String(), "--data")
}

func TestEphemeralLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.environ = append(s.environ, "TMPDIR="+s.data)
	p := s.up(t, "--ephemeral")
	left, err := filepath.Glob(filepath.Join(s.data, "orders-*"))
	require.NoError(t, err)
	require.NotEmpty(t, left)

	p.stop(t)

	left, err = filepath.Glob(filepath.Join(s.data, "orders-*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestMigrateWorksAloneAndBesideARunningHarness(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	migrate := func() string {
		m := launch(t, s.environ, "migrate", "--data", s.data)
		<-m.ended
		require.NoError(t, m.err, m.log.String())
		return m.stdout.String()
	}
	assert.Regexp(t, `(?m)^[1-9]\d* migrations applied`, migrate())
	assert.Contains(t, migrate(), "0 migrations applied")

	s.up(t)
	assert.Contains(t, migrate(), "0 migrations applied")
}

func TestHealthIsDownWhileTheDatabaseIsDown(t *testing.T) {
	t.Parallel()
	// Nothing listens there: the harness cannot migrate and says what it cannot reach.
	p := launch(t, []string{"MYSQL_DSN=root@tcp(" + porttest.Address(t) + ")/"}, "migrate", "--data", t.TempDir())
	<-p.ended
	require.Error(t, p.err)
	assert.Contains(t, p.log.String(), "connection refused")
}

func TestAnAddressInUseIsReported(t *testing.T) {
	t.Parallel()
	address := porttest.Address(t)
	server := http.Server{Addr: address}
	taken := make(chan error, 1)
	go func() { taken <- server.ListenAndServe() }()
	t.Cleanup(func() {
		require.NoError(t, server.Shutdown(context.WithoutCancel(t.Context())))
		require.ErrorIs(t, <-taken, http.ErrServerClosed)
	})
	require.Eventually(t, func() bool {
		response, err := http.Get("http://" + address)
		if err != nil {
			return false
		}
		return response.Body.Close() == nil
	}, 10e9, 1e6)

	p := launch(t, nil, "--addr", address, "--data", t.TempDir())

	<-p.ended
	require.Error(t, p.err)
	assert.Contains(t, p.log.String(), "give another address with --addr")
}
