package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/sql/schema"
)

// load is the requests of customers and a shopkeeper during faults: they order, cancel and restock. Each request is repeated
// unchanged until it has its answer, so that the expected final state is known.
type load struct {
	client  http.Client
	targets []string // the addresses of the API, which get requests in turn
	turn    atomic.Uint64
	pace    time.Duration
	linger  time.Duration                  // the pace of a client that has made its requests and waits for the end
	ledger  func() (gateway.Ledger, error) // of the gateway at which the orders are paid; nil if they are not
	stop    chan struct{}
	clients sync.WaitGroup
	done    chan struct{} // closed once every client has all its answers

	mu       sync.Mutex
	placed   map[string]placed // by order id
	stock    map[string]int    // units by SKU, including reserved ones
	twice    []string          // keys that were answered with different orders
	broken   []string          // answers that must not occur
	refused  int               // answers of 503
	accepted []time.Time       // when an order was accepted
}

// placed is an accepted order.
type placed struct {
	units    map[string]int
	canceled bool // the cancellation was answered with 200
	failed   bool // or with 409
}

const loadClients, units = 8, 40

// newLoad returns a load on the API at base URLs that has not started yet.
func newLoad(targets ...string) *load {
	return &load{
		client:  http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: loadClients}},
		targets: targets, stop: make(chan struct{}), done: make(chan struct{}),
		placed: map[string]placed{}, stock: map[string]int{},
	}
}

// start starts the clients: each makes ops requests, and continues until end. They stop with ctx, which ends early if the
// test has failed.
func (l *load) start(ctx context.Context, seed uint64, ops int) {
	for sku, n := range map[string]int{"PLENTY": 100_000, "FEW": units} {
		l.clients.Go(func() {
			if l.send(ctx, http.MethodPut, "/api/inventory/"+sku, fmt.Sprintf(`{"availableQty":%d}`, n), nil) == http.StatusCreated {
				l.restocked(sku, n)
			}
		})
	}
	for c := range uint64(loadClients) {
		random := rand.New(rand.NewPCG(seed, c))
		l.clients.Go(func() {
			for n := 1; ; n++ {
				pace, stop := l.pace, (<-chan struct{})(nil)
				if n > ops {
					pace, stop = max(l.pace, l.linger), l.stop
				}
				select {
				case <-stop:
					return
				case <-ctx.Done():
					return
				case <-time.After(pace):
				}
				l.act(ctx, random, n)
			}
		})
	}
	go func() {
		l.clients.Wait()
		close(l.done)
	}()
}

// end lets every client finish its requests and get its last answer.
func (l *load) end() {
	close(l.stop)
	<-l.done
}

// act is one action: mostly an order, one order in four is canceled, and sometimes stock is added.
func (l *load) act(ctx context.Context, random *rand.Rand, n int) {
	if n%6 == 0 {
		more := 1 + random.IntN(3)
		if l.send(ctx, http.MethodPost, "/api/inventory/PLENTY/adjustments", fmt.Sprintf(`{"delta":%d,"reason":"delivered"}`, more), nil) == http.StatusOK {
			l.restocked("PLENTY", more)
		}
		return
	}
	wanted := map[string]int{"PLENTY": 1 + random.IntN(3)}
	if random.IntN(4) == 0 {
		wanted["FEW"] = 1
	}
	id := l.place(ctx, wanted)
	if id == "" || random.IntN(4) != 0 {
		return
	}
	status := l.send(ctx, http.MethodPost, "/api/orders/"+id+"/cancel", "", nil)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.placed[id] = placed{units: wanted, canceled: status == http.StatusOK, failed: status == http.StatusConflict}
}

// place places an order and returns its id, empty if ctx ended before it was accepted.
func (l *load) place(ctx context.Context, wanted map[string]int) string {
	var lines []string
	for sku, n := range wanted {
		lines = append(lines, fmt.Sprintf(`{"sku":%q,"quantity":%d,"unitPrice":1299}`, sku, n))
	}
	var o order
	body := `{"customerEmail":"alice@example.com","items":[` + strings.Join(lines, ",") + `]}`
	if l.send(ctx, http.MethodPost, "/api/orders", body, &o) != http.StatusCreated {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.accepted = append(l.accepted, time.Now())
	if _, again := l.placed[o.OrderID]; again {
		l.twice = append(l.twice, o.OrderID)
	}
	l.placed[o.OrderID] = placed{units: wanted}
	return o.OrderID
}

func (l *load) restocked(sku string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stock[sku] += n
}

// send sends a request with its own key until the answer is not a failure of the server, and returns the status, 0 if ctx
// ended first.
func (l *load) send(ctx context.Context, method, path, body string, answer any) int {
	key := uuid.NewString()
	for turn := l.turn.Add(1); ; turn++ {
		status, wait := l.once(ctx, l.targets[turn%uint64(len(l.targets))], method, path, key, body, answer)
		if status != 0 && status < http.StatusInternalServerError {
			if status >= http.StatusBadRequest && status != http.StatusConflict {
				l.complain("%s %s is answered with %d", method, path, status)
			}
			return status
		}
		select {
		case <-ctx.Done():
			return 0
		case <-time.After(wait):
		}
	}
}

// once sends a request and returns the status of the answer, 0 without one, and how long to wait before the next attempt.
func (l *load) once(ctx context.Context, target, method, path, key, body string, answer any) (status int, wait time.Duration) {
	request, err := http.NewRequestWithContext(ctx, method, target+path, strings.NewReader(body))
	if err != nil {
		l.complain("%v", err)
		return 0, time.Second
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", key)
	response, err := l.client.Do(request)
	if err != nil {
		return 0, 20 * time.Millisecond // the harness is down, or died
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, 20 * time.Millisecond
	}
	switch {
	case response.StatusCode == http.StatusServiceUnavailable:
		l.mu.Lock()
		l.refused++
		l.mu.Unlock()
		seconds, err := strconv.Atoi(response.Header.Get("Retry-After"))
		if err != nil {
			l.complain("%s %s is answered with 503 and Retry-After %q", method, path, response.Header.Get("Retry-After"))
			seconds = 1
		}
		return response.StatusCode, time.Duration(seconds) * time.Second
	case response.StatusCode >= http.StatusInternalServerError:
		l.complain("%s %s is answered with %d: %s", method, path, response.StatusCode, text)
		return response.StatusCode, time.Second
	case answer != nil && response.StatusCode < http.StatusMultipleChoices:
		if err := json.Unmarshal(text, answer); err != nil {
			l.complain("%s %s is answered with %q: %v", method, path, text, err)
		}
	}
	return response.StatusCode, 0
}

func (l *load) complain(format string, arguments ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = append(l.broken, fmt.Sprintf(format, arguments...))
}

// acceptedAfter returns how long after a time the next order was accepted; false if none was.
func (l *load) acceptedAfter(at time.Time) (time.Duration, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first, found := time.Duration(0), false
	for _, a := range l.accepted {
		if d := a.Sub(at); d > 0 && (!found || d < first) {
			first, found = d, true
		}
	}
	return first, found
}

// verdict counts the violations in the state of a stack after a load; what lists them.
type verdict struct {
	lost, doubled, oversold int
	what                    []string
}

func (v *verdict) add(count *int, n int, format string, arguments ...any) {
	*count += n
	v.what = append(v.what, fmt.Sprintf(format, arguments...))
}

// judge compares the databases with the answers to the clients. While events are in flight it finds missing effects.
func (l *load) judge(ctx context.Context, d databases) (v verdict, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	statuses := map[string]string{}
	if err := d.each(ctx, schema.Orders, "SELECT id, status FROM orders", func(scan scanner) error {
		var id, status string
		err := scan(&id, &status)
		statuses[id] = status
		return err
	}); err != nil {
		return v, err
	}
	holding := map[string]int{} // units of confirmed orders, by SKU
	for id, p := range l.placed {
		status, there := statuses[id]
		switch {
		case !there:
			v.add(&v.lost, 1, "order %s was accepted and is not there", id)
		case status == "PENDING":
			v.add(&v.lost, 1, "order %s has not ended", id)
		case p.canceled != (status == "CANCELED"), p.failed && status != "FAILED":
			v.add(&v.lost, 1, "order %s is %s; canceled: %t, too late for it: %t", id, status, p.canceled, p.failed)
		}
		if status == "CONFIRMED" {
			for sku, n := range p.units {
				holding[sku] += n
			}
		}
	}
	for id := range statuses {
		if _, known := l.placed[id]; !known {
			v.add(&v.doubled, 1, "no client got an answer with order %s", id)
		}
	}
	for _, id := range l.twice {
		v.add(&v.doubled, 1, "two requests were answered with order %s", id)
	}
	return v, errors.Join(l.judgeStock(ctx, d, holding, &v), l.judgeReservations(ctx, d, statuses, &v), l.judgeEvents(ctx, d, statuses, &v), l.judgePayments(ctx, d, statuses, &v))
}

func (l *load) judgeStock(ctx context.Context, d databases, holding map[string]int, v *verdict) error {
	return d.each(ctx, schema.Inventory, "SELECT sku, available_qty, reserved_qty FROM inventory", func(scan scanner) error {
		var sku string
		var available, reserved int
		if err := scan(&sku, &available, &reserved); err != nil {
			return err
		}
		switch total := available + reserved; {
		case total < l.stock[sku]:
			v.add(&v.lost, l.stock[sku]-total, "%d units of %s were stocked, there are %d", l.stock[sku], sku, total)
		case total > l.stock[sku]:
			v.add(&v.doubled, total-l.stock[sku], "%d units of %s were stocked, there are %d", l.stock[sku], sku, total)
		}
		if reserved != holding[sku] {
			v.add(&v.doubled, max(reserved-holding[sku], holding[sku]-reserved), "%d units of %s are reserved, confirmed orders have %d", reserved, sku, holding[sku])
		}
		if available < 0 || holding[sku] > l.stock[sku] {
			v.add(&v.oversold, max(-available, holding[sku]-l.stock[sku]), "%d units of %s are sold, %d were stocked", holding[sku], sku, l.stock[sku])
		}
		return nil
	})
}

// judgeReservations compares what each order holds by the log with what it must hold.
func (l *load) judgeReservations(ctx context.Context, d databases, statuses map[string]string, v *verdict) error {
	held := map[string]map[string]int{}
	if err := d.each(ctx, schema.Inventory, "SELECT order_id, sku, SUM(delta_reserved) FROM reservation_log GROUP BY order_id, sku", func(scan scanner) error {
		var id, sku string
		var n int
		err := scan(&id, &sku, &n)
		if held[id] == nil {
			held[id] = map[string]int{}
		}
		held[id][sku] = n
		return err
	}); err != nil {
		return err
	}
	for id, p := range l.placed {
		for sku, n := range p.units {
			if statuses[id] != "CONFIRMED" {
				n = 0
			}
			if has := held[id][sku]; has > n {
				v.add(&v.doubled, has-n, "order %s (%s) holds %d of %s, not %d", id, statuses[id], has, sku, n)
			} else if has < n {
				v.add(&v.lost, n-has, "order %s (%s) holds %d of %s, not %d", id, statuses[id], has, sku, n)
			}
		}
	}
	return nil
}

// judgeEvents checks for unsent events, and for customers without a notification of how their orders ended.
func (l *load) judgeEvents(ctx context.Context, d databases, statuses map[string]string, v *verdict) error {
	for _, name := range schema.WithOutbox {
		if err := d.each(ctx, name, "SELECT status, COUNT(*) FROM outbox WHERE status <> 'SENT' GROUP BY status", func(scan scanner) error {
			var status string
			var n int
			err := scan(&status, &n)
			v.add(&v.lost, n, "%d events of %s are %s in the outbox", n, name, status)
			return err
		}); err != nil {
			return err
		}
	}
	notified := map[string]bool{}
	if err := d.each(ctx, schema.Notifications, "SELECT order_id, type FROM notifications WHERE status = 'SENT'", func(scan scanner) error {
		var id, eventType string
		err := scan(&id, &eventType)
		notified[id+" "+strings.ToUpper(strings.TrimPrefix(eventType, "order."))] = true
		return err
	}); err != nil {
		return err
	}
	for id, status := range statuses {
		if status != "PENDING" && !notified[id+" "+status] {
			v.add(&v.lost, 1, "the customer of order %s was not notified that it is %s", id, status)
		}
	}
	return nil
}

// databases has a pool for each schema of a stack.
type databases map[string]*sql.DB

type scanner = func(...any) error

func (d databases) each(ctx context.Context, name, query string, row func(scanner) error) (err error) {
	rows, err := d[name].QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// databases connects to the schemas of a stack with a running harness; close it before the harness ends.
func (s stack) databases(t testing.TB) databases {
	t.Helper()
	run, err := readRun(s.data)
	require.NoError(t, err)
	return openDatabases(t, schema.Server{DSN: run.DSN, Prefix: s.variable("MYSQL_SCHEMA_PREFIX")})
}

func openDatabases(t testing.TB, server schema.Server) databases {
	t.Helper()
	d := databases{}
	for _, name := range []string{schema.Orders, schema.Inventory, schema.Notifications, schema.Payments} {
		var err error
		d[name], err = server.Open(name, 2)
		require.NoError(t, err)
	}
	return d
}

func (d databases) close() {
	for _, db := range d {
		_ = db.Close() // its server may be gone
	}
}

func (s stack) variable(name string) string {
	for _, pair := range s.environ {
		if value, ok := strings.CutPrefix(pair, name+"="); ok {
			return value
		}
	}
	return ""
}

// settle waits until there are no violations, and returns how long that took, or the remaining violations after patience.
func (l *load) settle(ctx context.Context, d databases, patience time.Duration) (took time.Duration, v verdict, err error) {
	begin := time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if v, err = l.judge(ctx, d); err == nil && len(v.what) == 0 || time.Since(begin) > patience {
			return time.Since(begin), v, err
		}
		select {
		case <-ctx.Done():
			return time.Since(begin), v, errors.Join(err, ctx.Err())
		case <-tick.C:
		}
	}
}
