package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"example.com/orders/functions/internal/web/direct"
)

// sample is the course of one order. Times are relative to the start of the load.
type sample struct {
	due      time.Duration // when the request was due: latencies count from here
	answered time.Duration
	status   int    // of HTTP; 0 without an answer
	retried  int    // how often it was refused and, in a closed loop, sent again
	id       string // of the order, empty if it was not accepted
	ended    time.Duration
	end      outcome
	relayed  time.Duration // from the time of order.confirmed until it was read
	stored   time.Duration // when the confirmation was committed, 0 if that is not known
}

// samples has all orders of a load.
type samples []sample

// confirmed counts the confirmed orders, and ended those with any end.
func (s samples) confirmed() (n int) {
	for i := range s {
		if s[i].end == confirmed {
			n++
		}
	}
	return n
}

func (s samples) ended() (n int) {
	for i := range s {
		if s[i].end != pending {
			n++
		}
	}
	return n
}

// requestWithin bounds one request.
const requestWithin = 30 * time.Second

// newClient returns a client that keeps one connection per request in flight.
func newClient(concurrency int) *http.Client {
	transport := direct.Transport()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost, transport.MaxConnsPerHost = 0, concurrency, concurrency
	transport.DisableCompression, transport.IdleConnTimeout = true, 0
	transport.DialContext = (&net.Dialer{Timeout: 5 * time.Second}).DialContext
	return &http.Client{Timeout: requestWithin, Transport: transport}
}

// load places orders and waits until the accepted ones have ended; the error wraps ErrLost if some have not. It samples
// usage, if given, meanwhile.
func (r *runner) load(ctx context.Context, o Options, shape *shape, usage *usage) (samples, error) {
	all := make(samples, o.Orders)
	begin := time.Now()
	r.watch.follow(begin, all)
	counts := &counts{total: o.Orders, watch: r.watch}
	stopShowing := r.show.follow(ctx, counts, usage)
	defer stopShowing()

	turns := make(chan int)
	var workers sync.WaitGroup
	workers.Go(func() { r.schedule(ctx, o, begin, turns) })
	for range min(o.Concurrency, o.Orders) {
		workers.Go(func() {
			for n := range turns {
				body := shape.body(n)
				all[n].due = time.Since(begin)
				if o.Rate > 0 {
					// If every worker was busy it is late, and its latency counts from the time when it was due.
					all[n].due = due(n, o.Rate)
				}
				id, status, again := r.post(ctx, n, body)
				for o.Rate == 0 && again > 0 && ctx.Err() == nil {
					all[n].retried++
					sleep(ctx, again)
					id, status, again = r.post(ctx, n, body)
				}
				all[n].answered, all[n].status, all[n].id = time.Since(begin), status, id
				if id != "" {
					r.watch.accepted(id, n)
				}
				counts.answered.Add(1)
			}
		})
	}
	workers.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if none(all) {
		return nil, fmt.Errorf("not one of %d orders was accepted: %v", o.Orders, refusals(all))
	}
	return all, r.watch.await(ctx, o.Patience)
}

// schedule gives each order its turn: with a rate when it is due, and otherwise when a worker is free. It closes turns after the last
// one, or when ctx ends.
func (r *runner) schedule(ctx context.Context, o Options, begin time.Time, turns chan<- int) {
	defer close(turns)
	for n := range o.Orders {
		if o.Rate > 0 {
			r.until(ctx, begin.Add(due(n, o.Rate)))
		}
		select {
		case turns <- n:
		case <-ctx.Done():
			return
		}
	}
}

func none(all samples) bool {
	for i := range all {
		if all[i].status == http.StatusCreated {
			return false
		}
	}
	return len(all) > 0
}

// refusals counts the answers other than 201 by status; 0 means no answer.
func refusals(all samples) map[int]int {
	by := map[int]int{}
	for i := range all {
		if all[i].status != http.StatusCreated {
			by[all[i].status]++
		}
	}
	return by
}

func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// post places the n-th order; the id is empty if it was not accepted, and the status is 0 without an answer. again is when the
// server wants a refused order to be sent again, 0 if it does not say.
func (r *runner) post(ctx context.Context, n int, body []byte) (id string, status int, again time.Duration) {
	response, err := r.send(ctx, n, http.MethodPost, "/api/orders", body)
	if err != nil {
		return "", 0, 0
	}
	defer func() { _ = response.Body.Close() }() // it has been read
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return "", 0, 0
	}
	if response.StatusCode != http.StatusCreated {
		seconds, _ := strconv.Atoi(response.Header.Get("Retry-After")) // 0 without one
		return "", response.StatusCode, time.Duration(seconds) * time.Second
	}
	var answer struct {
		OrderID string `json:"orderId"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return "", 0, 0
	}
	return answer.OrderID, response.StatusCode, 0
}

// send sends the n-th request of its kind to the members in turn.
func (r *runner) send(ctx context.Context, n int, method, path string, body []byte) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, r.target.APIs[n%len(r.target.APIs)]+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	r.target.Token.Authorize(request)
	return r.client.Do(request)
}

// level is the number of units of each SKU before a load: more than any load takes.
const level = 1_000_000_000

// stock adds stock of every SKU, so that the orders are confirmed.
func (r *runner) stock(ctx context.Context, shape *shape) error {
	r.show.say("adding stock of %d SKUs", shape.skus)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(r.target.MaxConns, shape.skus) {
		workers.Go(func() {
			for ctx.Err() == nil {
				sku := int(next.Add(1)) - 1
				if sku >= shape.skus {
					return
				}
				if err := r.putStock(ctx, sku); err != nil {
					cancel(err)
				}
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}

func (r *runner) putStock(ctx context.Context, sku int) error {
	if err := r.put(ctx, sku, "/api/inventory/"+skuName(sku), fmt.Appendf(nil, `{"availableQty":%d}`, level)); err != nil {
		return fmt.Errorf("add stock of %s: %w", skuName(sku), err)
	}
	if r.target.Token == nil {
		return nil
	}
	if err := r.put(ctx, sku, "/api/prices/"+skuName(sku), fmt.Appendf(nil, `{"unitPrice":%d,"currency":%q}`, unitPrice, r.target.Currency)); err != nil {
		return fmt.Errorf("set the price of %s: %w", skuName(sku), err)
	}
	return nil
}

// put puts a JSON body, as the n-th request of its kind.
func (r *runner) put(ctx context.Context, n int, path string, body []byte) (err error) {
	response, err := r.send(ctx, n, http.MethodPut, path, body)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
	if err != nil {
		return err
	}
	switch {
	case response.StatusCode == http.StatusUnauthorized || response.StatusCode == http.StatusForbidden:
		return fmt.Errorf("%s: %s: set HARNESS_TOKEN to the access token of an operator", response.Status, text)
	case response.StatusCode >= http.StatusMultipleChoices:
		return fmt.Errorf("%s: %s", response.Status, text)
	}
	return nil
}
