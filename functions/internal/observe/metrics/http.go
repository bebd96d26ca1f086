package metrics

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/felixge/httpsnoop"
)

// methods are the HTTP methods with their own label: a client can send any text.
var methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}

// Requests counts the requests to next, which is a ServeMux or contains one. The route of a request is the innermost pattern
// that it matched, of which there are few, not its path.
func (m *Metrics) Requests(next http.Handler) http.Handler {
	if m == nil {
		return next
	}
	m.latency.Create(http.MethodPost, "/api/orders")
	m.requests.Add(0, http.MethodPost, "/api/orders", "201")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := httpsnoop.CaptureMetrics(next, w, r)
		method, route := r.Method, Route(r)
		if !slices.Contains(methods, method) {
			method = "other"
		}
		m.requests.Add(1, method, route, strconv.Itoa(answer.Code))
		if !strings.HasPrefix(w.Header().Get("Content-Type"), "text/event-stream") {
			m.latency.Observe(answer.Duration.Seconds(), method, route)
		}
	})
}

// Route returns the pattern that a request has matched, without its method: "none" before routing.
func Route(r *http.Request) string {
	route := r.Pattern
	if _, path, found := strings.Cut(route, " "); found {
		route = path
	}
	if route == "" {
		return "none"
	}
	return route
}
