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

// place places an order under a key and returns the answer, after it was compared with the description of the API. It sends the
// order again if the harness has closed the connection, as it does when it waits too long for the head of a request.
func (f *flood) place(t *testing.T, key string) (status int, header http.Header, o order) {
	t.Helper()
	var request *http.Request
	var response *http.Response
	var begun time.Time
	for response == nil {
		var err error
		request, err = http.NewRequestWithContext(t.Context(), http.MethodPost, f.p.url+"/api/orders", strings.NewReader(body("FLOOD", 1)))
		if !assert.NoError(t, err) {
			return 0, nil, o
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Idempotency-Key", strconv.Quote(key))
		begun = time.Now()
		if response, err = f.client.Do(request); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			assert.NoError(t, err)
			return 0, nil, o
		}
	}
	defer func() { assert.NoError(t, response.Body.Close()) }()
	var answer json.RawMessage
	assert.NoError(t, json.NewDecoder(response.Body).Decode(&answer))
	took := time.Since(begun)
	assert.NoError(t, openapitest.Check(request.Method, request.URL, response.StatusCode, response.Header, answer))
	if response.StatusCode == http.StatusCreated {
		assert.NoError(t, json.Unmarshal(answer, &o))
	} else {
		f.mu.Lock()
		f.slowest = max(f.slowest, took)
		f.mu.Unlock()
	}
	return response.StatusCode, response.Header, o
}

// run has each client place orders until some are refused and some accepted, and repeat an accepted one now and then.
func (f *flood) run(t *testing.T, clients int) {
	t.Helper()
	var flooding sync.WaitGroup
	for c := range clients {
		flooding.Go(func() {
			for n := 0; n < 2 || f.refused.Load() < int64(clients) && !t.Failed(); n++ {
				key := fmt.Sprintf("client %d, order %d", c, n)
				status, header, o := f.place(t, key)
				if status == http.StatusServiceUnavailable {
					f.refused.Add(1)
					assert.Equal(t, "1", header.Get("Retry-After"))
					continue
				}
				if !assert.Equal(t, http.StatusCreated, status) {
					return
				}
				f.mu.Lock()
				f.accepted[key] = o.OrderID
				f.mu.Unlock()
				status, header, again := f.place(t, key)
				assert.Equal(t, http.StatusCreated, status, "what is accepted is answered, whatever is refused")
				assert.Equal(t, o.OrderID, again.OrderID)
				assert.Equal(t, "true", header.Get("Idempotency-Replayed"))
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
