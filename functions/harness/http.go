package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"sort"
	"strings"
	"time"

	"example.com/orders/functions/internal/otlp"
	"example.com/orders/functions/internal/rest"
)

// routes mounts every function at /functions/<deployed name>, the REST APIs at their own paths, the health of all, and,
// if wanted, Go's profiles.
func (h *harness) routes(profiles bool) http.Handler {
	mux := http.NewServeMux()
	for name, handler := range h.handlers {
		path := "/functions/" + name
		mux.Handle(path, http.StripPrefix(path, rooted(handler)))
		mux.Handle(path+"/", http.StripPrefix(path, handler))
	}
	for path, name := range map[string]string{"/api/orders": "orders-api", "/api/inventory": "inventory-api"} {
		mux.Handle(path, h.handlers[name])
		mux.Handle(path+"/", h.handlers[name])
	}
	mux.HandleFunc("GET /health", h.health)
	mux.HandleFunc("GET /health/live", live)
	mux.HandleFunc("GET /health/ready", h.ready)
	mux.HandleFunc("GET /info", h.info)
	mux.Handle("GET /metrics", h.metrics.Handler())
	if profiles {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	h.console.Register(mux)
	mux.HandleFunc("/", rest.Handler(func() *slog.Logger { return h.log }, rest.NotFound))
	return otlp.Handler(h.metrics.Requests(h.hosts.onlyKnown(h.log, h.sameOrigin(mux))))
}

// sameOrigin refuses writes that a page of another site sends: it must not order, cancel or replay by the browser of
// somebody who has the console open. What is no browser is let through.
func (h *harness) sameOrigin(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(rest.Handler(func() *slog.Logger { return h.log }, func(http.ResponseWriter, *http.Request) error {
		return rest.NewProblem(http.StatusForbidden, "a page of another site may not write here")
	}))
	return protection.Handler(next)
}

// rooted gives a request whose path was stripped to nothing the path that the function has when it is deployed.
func rooted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "" {
			r.URL.Path = "/"
		}
		next.ServeHTTP(w, r)
	})
}

// unready lists what cannot work now, and why.
func (h *harness) unready(ctx context.Context) map[string]string {
	reasons := map[string]string{}
	for name, f := range h.functions {
		if ready, err := f.Ready(ctx); err != nil {
			reasons[name] = err.Error()
		} else if !ready {
			reasons[name] = "has not started yet"
		}
	}
	for i, source := range h.sources {
		if !source.Joined() {
			reasons[h.wiring.Sources[i].Name] = "the source has not joined its consumer group"
		}
	}
	return reasons
}

// health answers 200 when every function can work and every source is reading, else 503 with the reasons.
func (h *harness) health(w http.ResponseWriter, r *http.Request) {
	answer := struct {
		Status  string            `json:"status"`
		Reasons map[string]string `json:"reasons,omitempty"`
	}{Status: "UP", Reasons: h.unready(r.Context())}
	if !h.stocked.Load() {
		answer.Reasons["harness"] = "the sample stock is not there yet"
	}
	status := http.StatusOK
	if len(answer.Reasons) > 0 {
		answer.Status, status = "DOWN", http.StatusServiceUnavailable
	}
	_ = rest.JSON(w, status, answer) // strings encode
}

// awaitReady waits until everything works, saying after a while what is waited for, and then makes the sample stock.
func (h *harness) awaitReady(ctx context.Context, addr string, o options) error {
	tell := time.Now().Add(5 * time.Second)
	for {
		reasons := h.unready(ctx)
		if len(reasons) == 0 {
			break
		}
		if time.Now().After(tell) {
			tell = time.Now().Add(30 * time.Second)
			h.log.Warn("not ready yet", "reasons", reasons)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	if o.stock {
		if err := sampleStock(ctx, addr); err != nil {
			return err
		}
	}
	h.stocked.Store(true)
	return nil
}

// sampleStock puts a few SKUs on stock, once for a database: the idempotency key makes any later time a repetition.
func sampleStock(ctx context.Context, addr string) error {
	client := toHarness()
	for sku, quantity := range map[string]int{"SKU-123": 100, "SKU-456": 50, "SKU-789": 5} {
		request, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+reachable(addr)+"/api/inventory/"+sku,
			strings.NewReader(fmt.Sprintf(`{"availableQty":%d}`, quantity)))
		if err != nil {
			return err
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set(rest.KeyHeader, "sample-stock")
		response, err := client.Do(request)
		if err != nil {
			return fmt.Errorf("put %s on stock: %w", sku, err)
		}
		text, _ := io.ReadAll(response.Body) // only for the message
		_ = response.Body.Close()
		if response.StatusCode >= 300 {
			return fmt.Errorf("put %s on stock: %s: %s", sku, response.Status, text)
		}
	}
	return nil
}

// banner says what runs where, and what to try.
func banner(w io.Writer, h *harness, addr string, data *dataFolder, took time.Duration) {
	names := make([]string, 0, len(h.functions))
	for name := range h.functions {
		names = append(names, name)
	}
	sort.Strings(names)
	folder := data.path
	if data.ephemeral {
		folder += " (removed at the end)"
	}
	fmt.Fprintf(w, `
orders is ready after %[1]s
  console    http://%[2]s/
  API        http://%[2]s/api/orders  /api/inventory  /docs  /health
  functions  http://%[2]s/functions/NAME: %[3]s
  Kafka      %[4]s
  database   %[5]s
  data       %[6]s

Try it:
  curl -i http://%[2]s/api/orders -H 'Content-Type: application/json' -d '{"customerEmail":"alice@example.com","items":[{"sku":"SKU-123","quantity":2,"unitPrice":1299}]}'
  curl http://%[2]s/api/orders
  curl http://%[2]s/api/inventory

`, took.Round(10*time.Millisecond), addr, strings.Join(names, " "), h.servers.kafka, h.servers.database, folder)
}
