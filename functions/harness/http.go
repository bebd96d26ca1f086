package main

import (
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
	"example.com/orders/knative"
)

// patterns is a mux that remembers its patterns.
type patterns struct {
	*http.ServeMux
	all []string
}

func newPatterns() *patterns { return &patterns{ServeMux: http.NewServeMux()} }

func (p *patterns) Handle(pattern string, handler http.Handler) {
	p.all = append(p.all, pattern)
	p.ServeMux.Handle(pattern, handler)
}

func (p *patterns) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	p.Handle(pattern, http.HandlerFunc(handler))
}

// routes serves everything on one port, as on a developer's machine.
func (h *harness) routes(profiles bool) http.Handler { return h.guarded(h.mount(profiles)) }

func (h *harness) mount(profiles bool) *patterns {
	mux := newPatterns()
	h.addPublic(mux)
	h.addOps(mux, profiles)
	return mux
}

// publicRoutes are the routes for everybody where those who run the harness have a port of their own, or none.
func (h *harness) publicRoutes() http.Handler {
	mux := newPatterns()
	h.addPublic(mux)
	mux.HandleFunc("GET /health", h.brief)
	mux.HandleFunc("GET /health/ready", h.brief)
	return h.guarded(mux)
}

// opsRoutes are the routes of that port, on which nobody logs in.
func (h *harness) opsRoutes(profiles bool) http.Handler {
	mux := newPatterns()
	h.addOps(mux, profiles)
	mux.HandleFunc("GET /health/live", live)
	mux.HandleFunc("GET /info", h.info)
	mux.HandleFunc("/", rest.Handler(func() *slog.Logger { return h.log }, rest.NotFound))
	return h.hosts.onlyKnown(h.log, mux)
}

// addPublic mounts every function at /functions/<deployed name>, the REST APIs at their own paths, and the console.
func (h *harness) addPublic(mux *patterns) {
	for name, handler := range h.handlers {
		path := "/functions/" + name
		mux.Handle(path, http.StripPrefix(path, rooted(handler)))
		mux.Handle(path+"/", http.StripPrefix(path, handler))
	}
	for path, name := range map[string]string{"/api/orders": "orders-api", "/api/prices": "orders-api", "/api/inventory": "inventory-api"} {
		mux.Handle(path, h.handlers[name])
		mux.Handle(path+"/", h.handlers[name])
	}
	mux.HandleFunc("GET /health/live", live)
	mux.Handle("GET /info", h.verifier.Operators(func() *slog.Logger { return h.log }, http.HandlerFunc(h.info))) // it tells the deployment
	h.console.Register(mux)
	h.sessions.Register(mux)
	mux.HandleFunc("/", rest.Handler(func() *slog.Logger { return h.log }, rest.NotFound))
}

// addOps mounts what tells how the harness works inside: the reasons of its health, its metrics and, if wanted, Go's profiles.
func (h *harness) addOps(mux *patterns, profiles bool) {
	mux.HandleFunc("GET /health", h.health)
	mux.HandleFunc("GET /health/ready", h.ready)
	mux.Handle("GET /metrics", h.metrics.Handler())
	if profiles {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
}

// guarded is what a route of the public port is behind.
func (h *harness) guarded(routes http.Handler) http.Handler {
	return otlp.Handler(h.metrics.Requests(h.hosts.onlyKnown(h.log, h.sameOrigin(h.sessions.Handler(routes)))))
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

// banner prints the addresses and commands to try.
func banner(w io.Writer, h *harness, data *dataFolder, took time.Duration) {
	names := make([]string, 0, len(h.functions))
	for name := range h.functions {
		names = append(names, name)
	}
	sort.Strings(names)
	wiring := knative.BaseName
	if h.wiring.Overlay != "" {
		wiring = "overlays/" + h.wiring.Overlay
	}
	paid := ""
	if h.servers.payments != "" {
		paid = "\n  payments   " + h.servers.payments
	}
	ops := ""
	if h.servers.ops != "" {
		ops = "\n  metrics    " + h.servers.opsOrigin() + "/metrics  /health  /info"
	}
	login := ""
	if h.verifier.Enabled() {
		login = ` -H "Authorization: Bearer $TOKEN"`
	}
	folder := data.path
	if data.ephemeral {
		folder += " (removed at the end)"
	}
	fmt.Fprintf(w, `
orders is ready after %[1]s
  console    %[2]s/
  API        %[2]s/api/orders  /api/inventory  /api/prices  /docs  /health
  functions  %[2]s/functions/NAME: %[3]s
  Kafka      %[4]s
  database   %[5]s
  data       %[6]s
  wiring     knative/%[7]s%[8]s%[9]s

Try it:
  curl -i %[2]s/api/orders%[10]s -H 'Content-Type: application/json' -d '{"customerEmail":"alice@example.com","items":[{"sku":"SKU-123","quantity":2,"unitPrice":1299}]}'
  curl %[2]s/api/orders%[10]s
  curl %[2]s/api/inventory%[10]s

`, took.Round(10*time.Millisecond), h.origin, strings.Join(names, " "), h.servers.kafka, h.servers.database, folder, wiring, paid, ops, login)
}
