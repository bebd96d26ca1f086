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

	"example.com/orders/functions/internal/observe/otlp"
	"example.com/orders/functions/internal/web/rest"
)

// routes mounts every function at /functions/<deployed name>, the REST APIs at their own paths, the health checks, and
// optionally Go's profiles.
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

// sameOrigin refuses writes from pages of other sites: they must not order, cancel or replay through the browser of an
// operator. Requests without browser headers pass.
func (h *harness) sameOrigin(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(rest.Handler(func() *slog.Logger { return h.log }, func(http.ResponseWriter, *http.Request) error {
		return rest.NewProblem(http.StatusForbidden, "a page of another site may not write here")
	}))
	return protection.Handler(next)
}

// rooted replaces an empty path after stripping by the path that the function gets in a deployment.
func rooted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "" {
			r.URL.Path = "/"
		}
		next.ServeHTTP(w, r)
	})
}

// sampleStock adds a few SKUs, once per database: a later call with the same idempotency key has no effect.
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

// banner prints the addresses and commands to try.
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
