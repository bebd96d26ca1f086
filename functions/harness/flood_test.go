package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/createorder"
	"example.com/orders/functions/internal/testkit/openapitest"
)

// flood is clients that place orders without a pause, each on a connection of its own.
type flood struct {
	p       *process
	client  *http.Client
	refused atomic.Int64

	mu       sync.Mutex
	accepted map[string]string // ids by idempotency key
	slowest  time.Duration     // of the refusals
}

func newFlood(p *process, clients int) *flood {
	return &flood{
		p: p, accepted: map[string]string{},
		client: &http.Client{Transport: &http.Transport{MaxIdleConns: clients, MaxIdleConnsPerHost: clients}},
	}
}

// floodAnswer is what a client was told of its order.
type floodAnswer struct {
	status int // 0 without an answer
	header http.Header
	order  order
	detail string // of a problem
}

// place places an order under a key and returns the answer, after it was compared with the description of the API. It sends the
// order again if the harness has closed the connection, as it does when it waits too long for the head of a request.
func (f *flood) place(t *testing.T, key string) (a floodAnswer) {
	t.Helper()
	var request *http.Request
	var response *http.Response
	var begun time.Time
	for response == nil {
		var err error
		request, err = http.NewRequestWithContext(t.Context(), http.MethodPost, f.p.url+"/api/orders", strings.NewReader(body("FLOOD", 1)))
		if !assert.NoError(t, err) {
			return a
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Idempotency-Key", strconv.Quote(key))
		begun = time.Now()
		if response, err = f.client.Do(request); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			assert.NoError(t, err)
			return a
		}
	}
	defer func() { assert.NoError(t, response.Body.Close()) }()
	var answer json.RawMessage
	assert.NoError(t, json.NewDecoder(response.Body).Decode(&answer))
	took := time.Since(begun)
	assert.NoError(t, openapitest.Check(request.Method, request.URL, response.StatusCode, response.Header, answer))
	if response.StatusCode == http.StatusCreated {
		assert.NoError(t, json.Unmarshal(answer, &a.order))
	} else {
		var problem struct{ Detail string }
		assert.NoError(t, json.Unmarshal(answer, &problem))
		a.detail = problem.Detail
		f.mu.Lock()
		f.slowest = max(f.slowest, took)
		f.mu.Unlock()
	}
	a.status, a.header = response.StatusCode, response.Header
	return a
}

// repeat places an accepted order again until it is answered. A database that is too busy to be asked is no reason to refuse it as
// if it were new.
func (f *flood) repeat(t *testing.T, key string) order {
	t.Helper()
	for {
		answer := f.place(t, key)
		if answer.status != http.StatusServiceUnavailable || !assert.Contains(t, answer.detail, "is not known yet") {
			assert.Equal(t, http.StatusCreated, answer.status)
			assert.Equal(t, "true", answer.header.Get("Idempotency-Replayed"))
			return answer.order
		}
	}
}

// run has each client place orders until some are refused and some accepted, and repeat an accepted one now and then.
func (f *flood) run(t *testing.T, clients int) {
	t.Helper()
	var flooding sync.WaitGroup
	for c := range clients {
		flooding.Go(func() {
			for n := 0; n < 2 || f.refused.Load() < int64(clients) && !t.Failed(); n++ {
				key := fmt.Sprintf("client %d, order %d", c, n)
				first := f.place(t, key)
				if first.status == http.StatusServiceUnavailable {
					f.refused.Add(1)
					assert.Equal(t, "1", first.header.Get("Retry-After"))
					continue
				}
				if !assert.Equal(t, http.StatusCreated, first.status) {
					return
				}
				f.mu.Lock()
				f.accepted[key] = first.order.OrderID
				f.mu.Unlock()
				assert.Equal(t, first.order.OrderID, f.repeat(t, key).OrderID, "what is accepted is answered, whatever is refused")
			}
		})
	}
	flooding.Wait()
}

// TestAFloodIsRefusedAndWhatIsAcceptedEnds floods a harness over FLOOD_CONNECTIONS connections, by default 300.
func TestAFloodIsRefusedAndWhatIsAcceptedEnds(t *testing.T) {
	t.Parallel()
	clients, err := strconv.Atoi(or(os.Getenv("FLOOD_CONNECTIONS"), "300"))
	require.NoError(t, err)
	s := newStack(t)
	s.environ = append(s.environ, createorder.WaitVariable+"=500ms")
	p := s.up(t, "--max-connections", strconv.Itoa(clients+100))
	require.Equal(t, http.StatusCreated, p.do(t, http.MethodPut, "/api/inventory/FLOOD", nil, `{"availableQty":1000000}`, nil))
	f := newFlood(p, clients)

	f.run(t, clients)

	require.NotEmpty(t, f.accepted)
	t.Logf("%d accepted, %d refused, within %s at most", len(f.accepted), f.refused.Load(), f.slowest)
	p.await(t, "each accepted order is CONFIRMED, and no other order is there", func() bool {
		scraped := p.scrape(t)
		confirmed, _ := valueOf(t, scraped, `orders_by_status{status="CONFIRMED"}`)
		pending, _ := valueOf(t, scraped, `orders_by_status{status="PENDING"}`)
		return int(confirmed) == len(f.accepted) && pending == 0
	})
	assert.Equal(t, len(f.accepted), p.level(t, "FLOOD").ReservedQty)
	p.awaitLog(t, "orders are no longer refused")
	assert.Equal(t, strings.Count(p.log.String(), "orders are no longer refused"), strings.Count(p.log.String(), "orders are refused: too many are under way"))
	p.audit(t)
	p.stop(t)
}
