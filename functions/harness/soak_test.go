package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/kafkatest"
)

// rude are the clients of a soak that hold connections for nothing. Each func behaves badly on a new connection until the
// server cuts it off or ctx ends.
var rude = map[string]func(ctx context.Context, conn net.Conn){
	"silent": func(ctx context.Context, conn net.Conn) { drip(ctx, conn, "", "") },
	"head, a byte a second": func(ctx context.Context, conn net.Conn) {
		drip(ctx, conn, "GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", "x")
	},
	"body, a byte a second": func(ctx context.Context, conn net.Conn) {
		drip(ctx, conn, "POST /api/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{", " ")
	},
	"body of an event": func(ctx context.Context, conn net.Conn) {
		drip(ctx, conn, "POST /functions/cancel-order HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nCe-Specversion: 1.0\r\n"+
			"Ce-Type: order.cancel\r\nCe-Source: /soak\r\nCe-Id: 1\r\nContent-Length: 100000\r\n\r\n{", " ")
	},
	"answers unread": func(ctx context.Context, conn net.Conn) {
		drip(ctx, conn, strings.Repeat("GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n", 100), "\r\n")
	},
	"stream unread": func(ctx context.Context, conn net.Conn) {
		_, _ = io.WriteString(conn, streamRequest)
		_, _ = io.ReadFull(conn, make([]byte, 512))
		hold(ctx, conn, 20*time.Second)
	},
	"stream left": func(ctx context.Context, conn net.Conn) {
		_, _ = io.WriteString(conn, streamRequest)
		_, _ = io.ReadFull(conn, make([]byte, 2048))
		hold(ctx, conn, 500*time.Millisecond)
	},
}

const streamRequest = "GET /console/events?view=flow&view=orders&view=counts HTTP/1.1\r\nHost: localhost\r\n\r\n"

// drip sends a text and then a piece each second until the connection is cut off.
func drip(ctx context.Context, conn net.Conn, text, piece string) {
	_, err := io.WriteString(conn, text)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for err == nil {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if _, err = io.WriteString(conn, piece); piece == "" {
				_ = conn.SetReadDeadline(time.Now().Add(time.Millisecond))
				if _, err = conn.Read(make([]byte, 1)); os.IsTimeout(err) {
					err = nil
				}
			}
		}
	}
}

// hold keeps a connection for a time.
func hold(ctx context.Context, conn net.Conn, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-ctx.Done()
	_ = conn.Close()
}

const (
	rudeClients = 15 // of each kind
	politeOnes  = 8
)

// soak is the clients of a harness under test.
type soak struct {
	url, address string
	placed       atomic.Int64
	failed       atomic.Int64
	cuts         atomic.Int64 // connections of rude clients

	mu      sync.Mutex
	failure string        // the first
	longest time.Duration // of an order
}

// misbehave runs the rude clients until ctx ends.
func (s *soak) misbehave(ctx context.Context, clients *sync.WaitGroup) {
	for _, behave := range rude {
		for range rudeClients {
			clients.Go(func() {
				for ctx.Err() == nil {
					conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.address)
					if err != nil {
						continue // it may be at its cap for a moment
					}
					behave(ctx, conn)
					_ = conn.Close()
					s.cuts.Add(1)
				}
			})
		}
	}
}

// order has polite clients place orders until ctx ends, at a rate per second or as fast as they are answered if it is 0.
func (s *soak) order(ctx context.Context, perSecond float64) {
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: politeOnes}}
	defer client.CloseIdleConnections()
	var clients sync.WaitGroup
	for range politeOnes {
		clients.Go(func() {
			pause := time.Nanosecond
			if perSecond > 0 {
				pause = time.Duration(float64(politeOnes) / perSecond * float64(time.Second))
			}
			tick := time.NewTicker(pause)
			defer tick.Stop()
			for ctx.Err() == nil {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
					s.place(client)
				}
			}
		})
	}
	clients.Wait()
}

func (s *soak) place(client *http.Client) {
	begin := time.Now()
	response, err := client.Post(s.url+"/api/orders", "application/json", strings.NewReader(body("MANY", 1)))
	said := fmt.Sprint(err)
	if err == nil {
		text, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if said = response.Status + " " + string(text); response.StatusCode == http.StatusCreated {
			s.placed.Add(1)
			s.mu.Lock()
			s.longest = max(s.longest, time.Since(begin))
			s.mu.Unlock()
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed.Add(1) == 1 {
		s.failure = said
	}
}

// soakGauges are what must not grow, with how much of it is noise: a share of its mean, and an amount.
var soakGauges = map[string]struct{ share, amount float64 }{
	"go_goroutines":                 {0.1, 40},
	"process_open_fds":              {0.1, 40},
	"go_memstats_heap_inuse_bytes":  {0.2, 16 << 20},
	"process_resident_memory_bytes": {0.1, 24 << 20},
}

// indexed is the memory in which the Kafka of a harness finds the records of an order, in bytes: it keeps an index of all records.
const indexed = 200

// gauges returns the values of soakGauges.
func (p *process) gauges(t *testing.T) map[string]float64 {
	t.Helper()
	values := map[string]float64{}
	for line := range strings.Lines(p.metrics(t)) {
		name, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		if _, wanted := soakGauges[name]; wanted {
			var err error
			values[name], err = strconv.ParseFloat(number, 64)
			require.NoError(t, err, line)
		}
	}
	require.Len(t, values, len(soakGauges), "the metrics lack some of them")
	return values
}

// trend returns the mean of values that were taken at equal intervals, and by how much they grew from the first to the last
// by the line of least squares.
func trend(values []float64) (mean, growth float64) {
	n := float64(len(values))
	for _, v := range values {
		mean += v / n
	}
	var covariance, variance float64
	for i, v := range values {
		x := float64(i) - (n-1)/2
		covariance += x * (v - mean)
		variance += x * x
	}
	return mean, covariance / variance * (n - 1)
}

func TestTrendIsTheSlopeOfTheValues(t *testing.T) {
	mean, growth := trend([]float64{10, 12, 14, 16})
	assert.InDelta(t, 13, mean, 1e-9)
	assert.InDelta(t, 6, growth, 1e-9)
	_, growth = trend([]float64{10, 30, 10, 30, 30, 10, 30, 10})
	assert.InDelta(t, 0, growth, 1e-9)
}

// TestSoak has the harness under half of its load for the time that SOAK says, among clients that send and read slowly or not
// at all. No order is refused, and memory, goroutines and descriptors do not grow once it is warm: `make soak`. The audit comes at
// the end, since the memory of one grows with the orders that it checks.
func TestSoak(t *testing.T) {
	if os.Getenv("SOAK") == "" {
		t.Skip("SOAK is not set: give how long, as in SOAK=60s")
	}
	length, err := time.ParseDuration(os.Getenv("SOAK"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, length, 20*time.Second, "less says nothing")
	stack := newStack(t)
	p := stack.up(t, "--audit-interval", "0")
	s := &soak{url: p.url, address: strings.TrimPrefix(p.url, "http://")}
	require.Equal(t, http.StatusCreated, p.do(t, http.MethodPut, "/api/inventory/MANY", nil, `{"availableQty":1000000000}`, nil))

	full, done := context.WithTimeout(t.Context(), min(10*time.Second, length/6))
	begin := time.Now()
	s.order(full, 0)
	done()
	half := float64(s.placed.Load()) / time.Since(begin).Seconds() / 2
	require.Positive(t, half)
	p.await(t, "the orders of the full load are final", func() bool { return p.pending(t) == 0 })
	before := p.gauges(t)

	// Warm after a third: the pools and the connections of all clients are open then.
	running, end := context.WithTimeout(t.Context(), length)
	defer end()
	var clients sync.WaitGroup
	s.misbehave(running, &clients)
	clients.Go(func() { s.order(running, half) })
	taken := map[string][]float64{}
	var first int64 // orders when the sampling begins
	tick := time.NewTicker(max(length/120, 250*time.Millisecond))
	defer tick.Stop()
	warm := time.After(length / 3)
	for sampling := false; running.Err() == nil; {
		select {
		case <-running.Done():
		case <-warm:
			sampling, first = true, s.placed.Load()
		case <-tick.C:
			if sampling && running.Err() == nil {
				for name, value := range p.gauges(t) {
					taken[name] = append(taken[name], value)
				}
			}
		}
	}
	clients.Wait()

	t.Logf("%s at %.0f orders/s: %d orders, the longest took %s, %d connections of rude clients", length, half, s.placed.Load(), s.longest, s.cuts.Load())
	assert.Zero(t, s.failed.Load(), "orders failed, the first by %s", s.failure)
	assert.Greater(t, s.cuts.Load(), int64(len(rude)*rudeClients), "no rude client was cut off")
	var index float64
	if !kafkatest.Given() {
		index = indexed * float64(s.placed.Load()-first)
	}
	for name, noise := range soakGauges {
		require.GreaterOrEqual(t, len(taken[name]), 20, "too few samples of %s", name)
		mean, growth := trend(taken[name])
		t.Logf("%-30s before %.0f, mean %.0f, from %.0f to %.0f, growth %+.0f", name, before[name], mean, slices.Min(taken[name]), slices.Max(taken[name]), growth)
		most := max(mean*noise.share, noise.amount)
		if strings.HasSuffix(name, "_bytes") {
			most += index
		}
		assert.LessOrEqual(t, growth, most, "%s grows", name)
	}
	for _, name := range []string{"go_goroutines", "process_open_fds"} {
		p.await(t, name+" is back to what it was", func() bool { return p.gauges(t)[name] <= before[name]*1.1+20 })
	}
	p.await(t, "the orders are final", func() bool { return p.pending(t) == 0 })
	p.audit(t)
	p.stop(t)
}

// pending returns how many orders of the first page of pending ones there are.
func (p *process) pending(t *testing.T) int {
	t.Helper()
	var page struct{ Orders []order }
	require.Equal(t, http.StatusOK, p.get(t, "/api/orders?status=PENDING", &page))
	return len(page.Orders)
}
