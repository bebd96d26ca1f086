package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/functions/internal/operate/bank"
	"example.com/orders/functions/internal/testkit/porttest"
)

// till is a bank in the process of the test, which survives the harness and can be made to fail.
type till struct {
	address  string
	scenario gateway.Scenario
	asked    atomic.Int64 // requests that came

	mu      sync.Mutex
	bank    *bank.Bank
	server  *http.Server
	around  func(http.Handler) http.Handler // what goes wrong; nil for nothing
	changed chan struct{}                   // closed when around is set
}

// openTill opens a bank on a ledger in a folder of its own, until the test ends.
func openTill(t *testing.T, scenario string) *till {
	t.Helper()
	s, err := gateway.ParseScenario(scenario)
	require.NoError(t, err)
	b := &till{address: porttest.Address(t), scenario: s, changed: make(chan struct{})}
	b.use(t, t.TempDir())
	b.listen(t)
	t.Cleanup(func() {
		b.goWrong(nil)
		b.hangUp()
		assert.NoError(t, b.bank.Close())
	})
	return b
}

func (b *till) url() string { return "http://" + b.address }

// use opens the ledger in a folder, in place of the one before. No request may be under way.
func (b *till) use(t *testing.T, folder string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bank != nil {
		require.NoError(t, b.bank.Close())
	}
	var err error
	b.bank, err = bank.Open(bank.Options{Ledger: filepath.Join(folder, "ledger.jsonl"), Scenario: b.scenario, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
}

func (b *till) listen(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", b.address)
	require.NoError(t, err)
	b.server = &http.Server{Handler: http.HandlerFunc(b.serve), ReadHeaderTimeout: time.Minute}
	go func() { _ = b.server.Serve(listener) }() // until hangUp
}

// hangUp closes all connections and refuses new ones, once the requests under way have ended.
func (b *till) hangUp() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if b.server.Shutdown(ctx) != nil {
		_ = b.server.Close() // some are lost on purpose
	}
}

// goWrong makes the bank answer through around from now on; requests that hang are let go.
func (b *till) goWrong(around func(http.Handler) http.Handler) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.around = around
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *till) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/ledger" { // the auditor always reads it
		b.asked.Add(1)
	}
	b.mu.Lock()
	handler, around := b.bank.Handler(), b.around
	b.mu.Unlock()
	if around != nil && r.URL.Path != "/ledger" {
		handler = around(handler)
	}
	handler.ServeHTTP(w, r)
}

// repeatable returns a handler that gets requests with a func that makes a copy of each.
func repeatable(handle func(w http.ResponseWriter, again func() *http.Request)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the caller is gone
		}
		handle(w, func() *http.Request {
			copied := r.Clone(context.WithoutCancel(r.Context()))
			copied.Body = io.NopCloser(bytes.NewReader(body))
			return copied
		})
	})
}

// hanging is what a frozen bank does: it accepts and never answers.
func (b *till) hanging(http.Handler) http.Handler {
	b.mu.Lock()
	defer b.mu.Unlock()
	changed := b.changed
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-changed:
		case <-r.Context().Done():
		}
		w.WriteHeader(http.StatusBadGateway)
	})
}

// lateBy has every request arrive after a time, even if its caller has given up.
func lateBy(d time.Duration) func(http.Handler) http.Handler {
	return func(inner http.Handler) http.Handler {
		return repeatable(func(w http.ResponseWriter, again func() *http.Request) {
			<-time.After(d)
			inner.ServeHTTP(w, again())
		})
	}
}

// twice has every request arrive twice at once, and once more later.
func twice(inner http.Handler) http.Handler {
	return repeatable(func(w http.ResponseWriter, again func() *http.Request) {
		var other sync.WaitGroup
		other.Go(func() { inner.ServeHTTP(httptest.NewRecorder(), again()) })
		inner.ServeHTTP(w, again())
		other.Wait()
		go func() {
			<-time.After(200 * time.Millisecond)
			inner.ServeHTTP(httptest.NewRecorder(), again())
		}()
	})
}

// failingAfter does what it is asked for, and answers that it has failed.
func failingAfter(status int) func(http.Handler) http.Handler {
	return func(inner http.Handler) http.Handler {
		return repeatable(func(w http.ResponseWriter, again func() *http.Request) {
			inner.ServeHTTP(httptest.NewRecorder(), again())
			http.Error(w, "upstream connect error", status)
		})
	}
}
