package cluster

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// load is customers who order and, without an answer or after a 5xx, retry with the same key.
type load struct {
	cluster *cluster
	service string // orders-api, or create-order
	prefix  string // of the keys

	mu       sync.Mutex
	answers  map[int]int // by status; 0 means no answer
	accepted []string
	took     []time.Duration // from the first request of an order to its acceptance
	begin    time.Time
	clients  sync.WaitGroup
	ended    chan struct{}
}

func newLoad(c *cluster, service string) *load {
	now := time.Now()
	return &load{cluster: c, service: service, prefix: strconv.FormatInt(now.UnixNano(), 36), begin: now, answers: map[int]int{}, ended: make(chan struct{})}
}

// patience is how long a customer retries.
const patience = 3 * time.Minute

// customer places the n-th order.
func (l *load) customer(t *testing.T, n int) {
	t.Helper()
	begin := time.Now()
	body := fmt.Sprintf(`{"customerEmail":"load@example.com","items":[{"sku":"SKU-%d","quantity":1,"unitPrice":100}]}`, n%skus)
	for time.Since(begin) < patience {
		answer := l.order(t, body, fmt.Sprintf("%s-%d", l.prefix, n))
		l.mu.Lock()
		l.answers[answer.status]++
		if answer.status == http.StatusCreated || answer.status == http.StatusOK {
			l.accepted = append(l.accepted, answer.order(t).OrderID)
			l.took = append(l.took, time.Since(begin))
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		if answer.status >= 400 && answer.status < 500 {
			t.Errorf("an order is refused: %d %s", answer.status, answer.body)
			return
		}
		time.Sleep(500 * time.Millisecond) // a customer's pause
	}
	t.Errorf("an order is not accepted within %s", patience)
}

// order sends one request, with the same key each time.
func (l *load) order(t *testing.T, body, key string) reply {
	t.Helper()
	if l.service == "create-order" {
		return l.cluster.call(t, http.MethodPost, l.service, "/", body, "Ce-Specversion", "1.0", "Ce-Type", "order.create", "Ce-Source", "/load", "Ce-Id", key)
	}
	return l.cluster.call(t, http.MethodPost, l.service, "/api/orders", body, "Idempotency-Key", strconv.Quote(key))
}

// start places orders at a rate until stop.
func start(t *testing.T, c *cluster, perSecond int) *load {
	t.Helper()
	l := newLoad(c, "orders-api")
	l.clients.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(perSecond))
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-l.ended:
				return
			case <-tick.C:
				l.clients.Go(func() { l.customer(t, n) })
			}
		}
	})
	return l
}

// atOnce places so many orders at a Service at once, and returns when all are accepted.
func atOnce(t *testing.T, c *cluster, service string, orders int) *load {
	t.Helper()
	l := newLoad(c, service)
	for n := range orders {
		l.clients.Go(func() { l.customer(t, n) })
	}
	l.clients.Wait()
	return l
}

// inTurn has clients place so many orders at orders-api, each one after the other, and returns when all are accepted.
func inTurn(t *testing.T, c *cluster, clients, orders int) *load {
	t.Helper()
	l := newLoad(c, "orders-api")
	var next atomic.Int64
	for range clients {
		l.clients.Go(func() {
			for n := next.Add(1); n <= int64(orders); n = next.Add(1) {
				l.customer(t, int(n))
			}
		})
	}
	l.clients.Wait()
	return l
}

// nonePending waits until no order is PENDING.
func nonePending(t *testing.T, c *cluster) {
	t.Helper()
	await(t, 5*time.Minute, "the end of every order", func() bool {
		answer := c.call(t, http.MethodGet, "orders-api", "/api/orders?status=PENDING&limit=1", "")
		var page struct {
			Orders []order `json:"orders"`
		}
		return answer.status == http.StatusOK && json.Unmarshal([]byte(answer.body), &page) == nil && len(page.Orders) == 0
	})
}

// count returns the number of orders accepted so far.
func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.accepted)
}

// more waits until so many more orders are accepted.
func (l *load) more(t *testing.T, orders int) {
	t.Helper()
	before := l.count()
	await(t, patience, fmt.Sprintf("%d more orders", orders), func() bool { return l.count() >= before+orders })
}

// stop ends the load and settles it.
func (l *load) stop(t *testing.T) {
	t.Helper()
	close(l.ended)
	l.clients.Wait()
	l.settle(t)
}

// confirmed waits until every accepted order is CONFIRMED.
func (l *load) confirmed(t *testing.T) {
	t.Helper()
	open := slices.Clone(l.accepted)
	states := map[string]int{}
	await(t, 5*time.Minute, "every order is confirmed", func() bool {
		states = map[string]int{}
		var mu sync.Mutex
		var left []string
		var asking sync.WaitGroup
		for part := range slices.Chunk(open, max(1, (len(open)+7)/8)) {
			asking.Go(func() {
				for _, id := range part {
					status := l.cluster.status(t, id)
					mu.Lock()
					states[status]++
					if status != "CONFIRMED" {
						left = append(left, id)
					}
					mu.Unlock()
				}
			})
		}
		asking.Wait()
		open = left
		return len(open) == 0 || states["FAILED"] > 0
	})
	assert.Empty(t, open, "orders that are not confirmed: %v", states)
}

// settle waits until every accepted order is CONFIRMED, reports, and checks that there are no dead letters and the audit is
// clean.
func (l *load) settle(t *testing.T) {
	t.Helper()
	ended := time.Now()
	l.confirmed(t)
	settled := time.Since(ended)
	slices.Sort(l.took)
	n := len(l.took)
	require.Positive(t, n)
	t.Logf("%d orders accepted in %s (answers %v; p50 %s, p99 %s, longest %s), all confirmed %s later", n, ended.Sub(l.begin).Round(100*time.Millisecond),
		l.answers, l.took[n/2].Round(time.Millisecond), l.took[n*99/100].Round(time.Millisecond), l.took[n-1].Round(time.Millisecond), settled.Round(100*time.Millisecond))
	log, _ := harness(t, "deadletters", "list", "--limit", "5")
	assert.Regexp(t, `(?m)^0 letters$`, log)
	audit(t)
}
