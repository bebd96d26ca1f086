package main

import (
	"context"
	"database/sql"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions"
	"example.com/orders/functions/internal/function/host"
	"example.com/orders/functions/internal/observe/exposition"
	"example.com/orders/functions/internal/operate/console"
	"example.com/orders/functions/internal/testkit/identitytest"
	"example.com/orders/knative"
)

// statuses are those that nobody, another customer, the customer and an operator get, in this order.
type statuses [4]int

var callers = [4]string{"nobody", "another customer", "the customer", "an operator"}

// apis are the routes of the functions that people and programs call, by function and pattern. The orders are alice's.
var apis = map[string]map[string]struct {
	path, body string
	want       statuses
}{
	"orders-api": {
		"POST /api/orders":             {"/api/orders", body("SKU-123", 1), statuses{401, 403, 201, 201}},
		"GET /api/orders":              {"/api/orders", "", statuses{401, 200, 200, 200}},
		"/api/orders":                  {"/api/orders", "", statuses{401, 405, 405, 405}},
		"GET /api/orders/{id}":         {"/api/orders/{id}", "", statuses{401, 404, 200, 200}},
		"/api/orders/{id}":             {"/api/orders/{id}", "", statuses{401, 405, 405, 405}},
		"POST /api/orders/{id}/cancel": {"/api/orders/{id}/cancel", "", statuses{401, 404, 200, 200}},
		"/api/orders/{id}/cancel":      {"/api/orders/{id}/cancel", "", statuses{401, 405, 405, 405}},
		"GET /api/prices":              {"/api/prices", "", statuses{401, 200, 200, 200}},
		"/api/prices":                  {"/api/prices", "", statuses{401, 405, 405, 405}},
		"GET /api/prices/{sku}":        {"/api/prices/SKU-123", "", statuses{401, 200, 200, 200}},
		"PUT /api/prices/{sku}":        {"/api/prices/SKU-123", `{"unitPrice":1299,"currency":"EUR"}`, statuses{401, 403, 403, 200}},
		"/api/prices/{sku}":            {"/api/prices/SKU-123", "", statuses{401, 405, 405, 405}},
		"/":                            {"/api/orders/{id}/more", "", statuses{401, 404, 404, 404}},
	},
	"inventory-api": {
		"GET /api/inventory":                    {"/api/inventory", "", statuses{401, 403, 403, 200}},
		"/api/inventory":                        {"/api/inventory", "", statuses{401, 405, 405, 405}},
		"GET /api/inventory/{sku}":              {"/api/inventory/SKU-123", "", statuses{401, 403, 403, 200}},
		"PUT /api/inventory/{sku}":              {"/api/inventory/SKU-123", `{"availableQty":100}`, statuses{401, 403, 403, 200}},
		"/api/inventory/{sku}":                  {"/api/inventory/SKU-123", "", statuses{401, 405, 405, 405}},
		"POST /api/inventory/{sku}/adjustments": {"/api/inventory/SKU-123/adjustments", `{"delta":1,"reason":"found"}`, statuses{401, 403, 403, 200}},
		"/api/inventory/{sku}/adjustments":      {"/api/inventory/SKU-123/adjustments", "", statuses{401, 405, 405, 405}},
		"/":                                     {"/api/inventory/SKU-123/more", "", statuses{401, 404, 404, 404}},
	},
}

// Who may use a pattern of the harness.
const (
	forAll       = "public"    // everybody: it tells nothing of a customer or of the deployment
	forOperators = "operator"  // operators, and 401 or 403 for others
	forReaders   = "page"      // the same, but nobody is led to the log-in
	forSources   = "source"    // what sends events to functions, and operators; others are asked to try again
	bySelf       = "function"  // it says itself what each may do: see apis and commands
	forLogin     = "login"     // everybody, to become somebody
	forMachine   = "operation" // for the machine's own monitoring
)

// access lists the patterns that a harness serves.
var access = map[string]string{
	"/": forAll, "GET /health": forMachine, "GET /health/live": forAll, "GET /health/ready": forMachine, "GET /metrics": forMachine,
	"GET /info": forOperators, "GET /debug/pprof/": forMachine, "GET /debug/pprof/profile": forMachine, "GET /debug/pprof/trace": forMachine,

	"/api/orders": bySelf, "/api/orders/": bySelf, "/api/prices": bySelf, "/api/prices/": bySelf, "/api/inventory": bySelf, "/api/inventory/": bySelf,
	"/functions/orders-api": bySelf, "/functions/orders-api/": bySelf, "/functions/inventory-api": bySelf, "/functions/inventory-api/": bySelf,
	"/functions/create-order": bySelf, "/functions/create-order/": bySelf, "/functions/cancel-order": bySelf, "/functions/cancel-order/": bySelf,
	"/functions/reserve-stock": forSources, "/functions/reserve-stock/": forSources, "/functions/release-stock": forSources, "/functions/release-stock/": forSources,
	"/functions/finalize-order": forSources, "/functions/finalize-order/": forSources, "/functions/expire-orders": forSources, "/functions/expire-orders/": forSources,
	"/functions/notify": forSources, "/functions/notify/": forSources,
	"/functions/publish-outbox-orders": forSources, "/functions/publish-outbox-orders/": forSources,
	"/functions/publish-outbox-inventory": forSources, "/functions/publish-outbox-inventory/": forSources,

	"GET /{$}": forReaders, "GET /orders": forReaders, "GET /orders/{id}": forReaders, "GET /search": forReaders, "GET /stock": forReaders, "GET /payments": forReaders, "GET /outbox": forReaders,
	"GET /deadletters": forReaders, "GET /audit": forReaders, "GET /docs/events": forReaders, "GET /docs/events/{type}": forReaders,
	"GET /docs": forAll, "GET /docs/cloudevents": forAll, "GET /openapi.json": forAll, "GET /schemas/{$}": forAll, "GET /orders/schemas/{file}": forAll, "GET /console/static/{file}": forAll,
	"GET /asyncapi.json": forOperators, "GET /console/topology": forOperators, "GET /console/catalogue": forOperators, "GET /console/settings": forOperators,
	"GET /console/search": forOperators, "GET /console/search/orders": forOperators, "GET /console/search/lines": forOperators, "GET /console/events": forOperators,
	"GET /console/deadletters/{topic}/{partition}/{offset}": forOperators, "POST /console/deadletters": forOperators, "POST /console/deadletters/correct": forOperators,
	"POST /console/deadletters/jobs/{id}/stop": forOperators, "GET /console/outbox/{schema}/{id}": forOperators, "POST /console/outbox": forOperators, "POST /console/payments": forOperators,
	"GET /login": forLogin, "GET /login/callback": forLogin, "POST /logout": forLogin, "GET /logged-out": forLogin,
}

// served returns the patterns of a harness with the base wiring, and those of its functions by their names.
func served(t *testing.T) (own []string, ofFunctions map[string][]string) {
	t.Helper()
	wiring, err := knative.Load(knative.Base())
	require.NoError(t, err)
	h := &harness{
		log: slog.New(slog.DiscardHandler), wiring: wiring, metrics: exposition.New(), handlers: map[string]http.Handler{}, origin: "http://127.0.0.1:8080",
		servers: &servers{config: map[string]string{"OIDC_ISSUER": "https://login.example.com", "OIDC_AUDIENCE": "orders", "OIDC_CLIENT_ID": "console"}},
	}
	ofFunctions = map[string][]string{}
	for _, service := range wiring.Services {
		f := functions.Catalogue[service.Function]()
		if h.handlers[service.Name], err = host.Handler(f); err != nil {
			require.NoError(t, err)
		}
		if patterns := f.Shared().Patterns(); len(patterns) > 0 {
			ofFunctions[service.Name] = patterns
		}
	}
	require.NoError(t, h.prepareLogin("127.0.0.1:8080"))
	h.console, err = console.New(console.Options{
		Wiring: wiring, Open: func(string) (*sql.DB, error) { return nil, nil }, Metrics: h.metrics.Metrics, Verifier: h.verifier, Sessions: h.sessions, Log: h.log, //nolint:nilnil // nothing is read
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
		defer cancel()
		assert.NoError(t, h.console.Close(ctx))
	})
	return h.mount(true).all, ofFunctions
}

func TestEveryRouteSaysWhoMayUseIt(t *testing.T) {
	own, ofFunctions := served(t)
	for _, pattern := range own {
		assert.Contains(t, access, pattern, "add a line for this route that says who may use it")
	}
	require.Len(t, ofFunctions, len(apis))
	for name, patterns := range ofFunctions {
		for _, pattern := range patterns {
			assert.Contains(t, apis[name], pattern, "add a line for this route of %s that says who may use it", name)
		}
		assert.Len(t, patterns, len(apis[name]), "a line of %s is for no route", name)
	}
	require.Greater(t, len(own), 60)
}

// entrance is a harness at which people log in, with the tokens of its callers.
type entrance struct {
	*process
	tokens [4]string
	order  string // of alice
}

func openEntrance(t *testing.T, args ...string) entrance {
	t.Helper()
	provider := identitytest.Start(t)
	s := newStack(t)
	for name, value := range provider.Config() {
		s.environ = append(s.environ, name+"="+value)
	}
	e := entrance{process: s.up(t, args...), tokens: [4]string{"", provider.Customer("bob"), provider.Customer("alice"), provider.Operator("olga")}}
	var placed order
	require.Equal(t, http.StatusCreated, e.do(t, http.MethodPost, "/api/orders", e.as(2), body("SKU-123", 1), &placed), "the sample's price is that of the example")
	e.order = placed.OrderID
	return e
}

// as returns the headers of a caller.
func (e entrance) as(caller int, more ...string) http.Header {
	header := http.Header{}
	if e.tokens[caller] != "" {
		header.Set("Authorization", "Bearer "+e.tokens[caller])
	}
	for i := 0; i < len(more); i += 2 {
		header.Set(more[i], more[i+1])
	}
	return header
}

// status sends a request without following redirects, and without waiting for the end of a stream.
func (e entrance) status(t *testing.T, method, path string, header http.Header, body string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, e.url+path, strings.NewReader(body))
	require.NoError(t, err)
	request.Header = header
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response.StatusCode
}

// TestWhoMayUseWhichRoute asks each route on each of its paths as each of the callers.
func TestWhoMayUseWhichRoute(t *testing.T) {
	t.Parallel()
	e := openEntrance(t)
	for name, routes := range apis {
		for pattern, route := range routes {
			method, _, given := strings.Cut(pattern, " ")
			if !given {
				method = http.MethodDelete // which no path takes
			}
			for _, prefix := range []string{"", "/functions/" + name} {
				path := prefix + strings.ReplaceAll(route.path, "{id}", e.order)
				for caller, want := range route.want {
					header := e.as(caller)
					assert.Equal(t, want, e.do(t, method, path, header, route.body, nil), "%s %s as %s", method, path, callers[caller])
				}
			}
		}
	}

	commands := map[string]struct {
		data string
		want statuses
	}{
		"order.create": {`{"customerEmail":"alice@example.com","items":[{"sku":"SKU-123","quantity":1}]}`, statuses{401, 403, 201, 201}},
		"order.cancel": {`{"orderId":"` + e.order + `"}`, statuses{401, 422, 200, 200}}, // 422 is that of an order that does not exist
	}
	for kind, command := range commands {
		for _, end := range []string{"", "/"} {
			path := "/functions/" + map[string]string{"order.create": "create-order", "order.cancel": "cancel-order"}[kind] + end
			for caller, want := range command.want {
				header := e.as(caller, "Ce-Specversion", "1.0", "Ce-Id", kind+end, "Ce-Source", "/desk", "Ce-Type", kind)
				assert.Equal(t, want, e.do(t, http.MethodPost, path, header, command.data, nil), "%s to %s as %s", kind, path, callers[caller])
			}
		}
	}

	for pattern, who := range access {
		method, path, given := strings.Cut(pattern, " ")
		if !given {
			method, path = http.MethodPost, pattern
		}
		path = strings.NewReplacer("{$}", "", "{id}", e.order, "{file}", "missing", "{type}", "order.created", "{topic}", "t", "{partition}", "0", "{offset}", "0", "{schema}", "orders").Replace(path)
		if who == bySelf || who == forLogin || who == forMachine {
			continue // above, in the tests of the log-in, and on the port of operations
		}
		for caller := range callers {
			header := e.as(caller, "Content-Type", "application/json", "Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/x", "Ce-Type", "unknown")
			got := e.status(t, method, path, header, "{}")
			denied := slices.Contains([]int{401, 403}, got)
			switch {
			case who == forSources && caller < 3:
				assert.Equal(t, http.StatusServiceUnavailable, got, "%s as %s", pattern, callers[caller])
			case who == forAll || caller == 3:
				assert.False(t, denied || got == http.StatusServiceUnavailable, "%s as %s: %d", pattern, callers[caller], got)
			case caller == 0:
				assert.Equal(t, http.StatusUnauthorized, got, "%s as %s", pattern, callers[caller])
			default:
				assert.Equal(t, http.StatusForbidden, got, "%s as %s", pattern, callers[caller])
			}
		}
	}
	e.audit(t)
}

func TestProcessesOfFunctionsCheckWhoAsks(t *testing.T) {
	t.Parallel()
	e := openEntrance(t, "--deployed")
	for _, path := range []string{"/api/orders/" + e.order, "/functions/orders-api/api/orders/" + e.order} {
		for caller, want := range (statuses{401, 404, 200, 200}) {
			assert.Equal(t, want, e.do(t, http.MethodGet, path, e.as(caller), "", nil), "%s as %s", path, callers[caller])
		}
	}
	for caller, want := range (statuses{401, 403, 403, 200}) {
		assert.Equal(t, want, e.do(t, http.MethodGet, "/api/inventory/SKU-123", e.as(caller), "", nil), callers[caller])
	}
}

func TestProcessesOfFunctionsTakeNoSessions(t *testing.T) {
	t.Parallel()
	p := launch(t, []string{"OIDC_CLIENT_ID=console"}, "up", "--deployed", "--data", t.TempDir())
	<-p.ended
	assert.Equal(t, exitUsage, p.exitCode(t))
	assert.Contains(t, p.log.String(), "--deployed with OIDC_CLIENT_ID")
}

func TestAHarnessWithoutItsProviderStartsAndLetsNobodyIn(t *testing.T) {
	t.Parallel()
	provider := identitytest.Start(t)
	token := provider.Customer("alice")
	provider.Down()
	s := newStack(t)
	for name, value := range provider.Config() {
		s.environ = append(s.environ, name+"="+value)
	}
	e := entrance{process: s.up(t), tokens: [4]string{"", "", token}}
	for _, path := range []string{"/api/orders", "/api/inventory", "/console/topology", "/info", "/functions/orders-api/api/prices"} {
		assert.Equal(t, http.StatusUnauthorized, e.status(t, http.MethodGet, path, e.as(0), ""), path)
		assert.Equal(t, http.StatusServiceUnavailable, e.status(t, http.MethodGet, path, e.as(2), ""), path)
	}
	provider.Break(nil)
	e.await(t, "the provider is back", func() bool { return e.status(t, http.MethodGet, "/api/orders", e.as(2), "") == http.StatusOK })
	assert.NotContains(t, e.log.String(), token)
}

func TestBenchPlacesOrdersWithTheTokenOfAnOperator(t *testing.T) {
	t.Parallel()
	e := openEntrance(t)
	args := []string{"bench", "--running", "--data", e.stack.data, "--warmup", "0", "--orders", "10", "--skus", "3", "--floor-for", "0"}
	for caller, says := range map[int]string{0: "401 Unauthorized", 2: "403 Forbidden"} {
		b := launch(t, append(e.stack.environ, "HARNESS_TOKEN="+e.tokens[caller]), args...)
		<-b.ended
		require.Error(t, b.err)
		assert.Contains(t, b.log.String(), says)
		assert.Contains(t, b.log.String(), "set HARNESS_TOKEN")
	}
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(e.tokens[3]+"\n"), 0o600))
	b := launch(t, append(e.stack.environ, "HARNESS_TOKEN_FILE="+file), args...)
	<-b.ended
	require.NoError(t, b.err, b.log.String())
	assert.NotContains(t, b.log.String()+b.stdout.String(), e.tokens[3])
}
