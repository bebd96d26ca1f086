package ordersapi

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/observe/exposition"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
)

// limited starts the function with settings, on a clock that stands still, and with metrics.
func limited(t *testing.T, config map[string]string) (*Function, *exposition.Registry) {
	t.Helper()
	f, counted := New(), exposition.New()
	now := time.Now().UTC().Truncate(time.Microsecond)
	f.Now, f.Metrics = func() time.Time { return now }, counted.Metrics
	return functiontest.Start(t, f, config), counted
}

func TestEveryRouteIsLimited(t *testing.T) {
	f, counted := limited(t, map[string]string{"RATE_LIMIT": "1/3", "RATE_LIMIT_WRITES": "1/2"})
	id := place(t, f)
	require.Equal(t, http.StatusOK, send(t.Context(), f, http.MethodPost, "/api/orders/"+id+"/cancel", "").Code)
	refusedWrites := []*httptest.ResponseRecorder{
		send(t.Context(), f, http.MethodPost, "/api/orders", body),
		send(t.Context(), f, http.MethodPost, "/api/orders/"+id+"/cancel", ""),
	}
	require.Equal(t, http.StatusOK, send(t.Context(), f, http.MethodGet, "/api/orders", "").Code, "of the three at once one is left for a read")
	for _, w := range append(refusedWrites,
		send(t.Context(), f, http.MethodGet, "/api/orders", ""),
		send(t.Context(), f, http.MethodGet, "/api/orders/"+id, "")) {
		p := refused(t, http.StatusTooManyRequests, w)
		assert.Contains(t, p.Detail, "send this request again after 1s")
		assert.Equal(t, "1", w.Header().Get("Retry-After"))
		assert.NotEmpty(t, w.Header().Get("X-Correlation-ID"))
	}
	assert.InDelta(t, 4, functiontest.Counted(t, counted, "orders_limited_total", "rate"), 0)
	assert.Equal(t, 1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders"))
}

func TestUnderOverloadABodyIsNotEvenRead(t *testing.T) {
	f, counted := limited(t, map[string]string{"ADMIT_MAX_WAIT": "1m"})
	f.Log = slog.New(slog.DiscardHandler) // of the requests that end while they wait
	post := func(ctx context.Context, body io.Reader) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/api/orders", body)
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		f.Handle(w, r)
		return w
	}
	unreadable := iotest.ErrReader(io.ErrUnexpectedEOF)
	assert.Equal(t, http.StatusBadRequest, post(t.Context(), unreadable).Code)
	var waiting sync.WaitGroup
	ctx, leave := context.WithCancel(t.Context())
	t.Cleanup(func() { leave(); waiting.Wait() })
	for n := 0; n < 1000 && post(t.Context(), unreadable).Code == http.StatusBadRequest; n++ {
		waiting.Go(func() { post(ctx, strings.NewReader(body)) })
		time.Sleep(time.Millisecond)
	}

	w := post(t.Context(), unreadable)

	p := refused(t, http.StatusServiceUnavailable, w)
	assert.Contains(t, p.Detail, "more orders arrive than can be confirmed within 1m0s: this one was not stored")
	assert.Equal(t, "60", w.Header().Get("Retry-After"))
	assert.InDelta(t, 2, functiontest.Counted(t, counted, "orders_limited_total", "overload"), 0)
}
