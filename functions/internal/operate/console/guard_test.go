package console_test

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/operate/console"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/identitytest"
	"example.com/orders/functions/internal/web/identity"
	"example.com/orders/knative"
	"example.com/orders/sql/operations"
	"example.com/orders/sql/schema"
)

// newGuarded returns a console for the operators of a provider, without a log-in.
func newGuarded(t *testing.T) (*bench, *identitytest.Provider) {
	t.Helper()
	provider := identitytest.Start(t)
	verifier, err := identity.New(provider.Config())
	require.NoError(t, err)
	return newBenchWith(t, knative.BaseName, func(o *console.Options) { o.Verifier = verifier }), provider
}

// as returns the status of a request with a token, and without one if that is empty.
func (b *bench) as(token, method, path, body string) (int, string) {
	b.t.Helper()
	b.token = token
	defer func() { b.token = "" }()
	return b.do(method, path, body, nil)
}

// guarded has a path for each pattern of the console, and whether it is for everybody.
var guarded = map[string]struct {
	path   string
	public bool
}{
	"GET /{$}":                                 {path: "/"},
	"GET /orders":                              {path: "/orders"},
	"GET /orders/{id}":                         {path: "/orders/0190b6f2-6a3c-7d1e-8000-000000000001"},
	"GET /search":                              {path: "/search"},
	"GET /stock":                               {path: "/stock"},
	"GET /payments":                            {path: "/payments"},
	"GET /outbox":                              {path: "/outbox"},
	"GET /deadletters":                         {path: "/deadletters"},
	"GET /audit":                               {path: "/audit"},
	"GET /docs":                                {path: "/docs", public: true},
	"GET /docs/cloudevents":                    {path: "/docs/cloudevents", public: true},
	"GET /docs/events":                         {path: "/docs/events"},
	"GET /docs/events/{type}":                  {path: "/docs/events/order.created"},
	"GET /console/static/{file}":               {path: "/console/static/app.js", public: true},
	"GET /openapi.json":                        {path: "/openapi.json", public: true},
	"GET /schemas/":                            {path: "/schemas/", public: true},
	"GET /asyncapi.json":                       {path: "/asyncapi.json"},
	"GET /console/events":                      {path: "/console/events"},
	"GET /console/topology":                    {path: "/console/topology"},
	"GET /console/catalogue":                   {path: "/console/catalogue"},
	"GET /console/settings":                    {path: "/console/settings"},
	"GET /console/search":                      {path: "/console/search?q=a"},
	"GET /console/search/orders":               {path: "/console/search/orders?email=a"},
	"GET /console/search/lines":                {path: "/console/search/lines?sku=a"},
	"POST /console/deadletters":                {path: "/console/deadletters"},
	"POST /console/deadletters/correct":        {path: "/console/deadletters/correct"},
	"GET /console/outbox/{schema}/{id}":        {path: "/console/outbox/orders/1"},
	"POST /console/outbox":                     {path: "/console/outbox"},
	"POST /console/payments":                   {path: "/console/payments"},
	"POST /console/deadletters/jobs/{id}/stop": {path: "/console/deadletters/jobs/1/stop"},
	"GET /console/deadletters/{topic}/{partition}/{offset}": {path: "/console/deadletters/a/0/0"},
}

func TestEachPathOfTheConsoleIsForOperators(t *testing.T) {
	source, err := os.ReadFile("console.go")
	require.NoError(t, err)
	for _, found := range regexp.MustCompile(`"((?:GET|POST) /[^"]*[^" ])"`).FindAllStringSubmatch(string(source), -1) {
		assert.Contains(t, guarded, found[1], "add it to the test")
	}
	for _, found := range regexp.MustCompile(`(?m)^\tfor _, page := range \[\]string\{(.*)\}`).FindAllStringSubmatch(string(source), -1) {
		for page := range strings.SplitSeq(found[1], ", ") {
			assert.Contains(t, guarded, "GET "+strings.Trim(page, `"`), "add it to the test")
		}
	}

	b, provider := newGuarded(t)
	for pattern, c := range guarded {
		method, _, _ := strings.Cut(pattern, " ")
		nobody, _ := b.as("", method, c.path, "")
		customer, _ := b.as(provider.Customer("alice"), method, c.path, "")
		operator, _ := b.as(provider.Operator("olga"), method, c.path, "")
		if c.public {
			assert.Equal(t, []int{200, 200, 200}, []int{nobody, customer, operator}, pattern)
			continue
		}
		assert.Equal(t, []int{401, 403}, []int{nobody, customer}, pattern)
		assert.NotContains(t, []int{401, 403}, operator, pattern)
	}
}

func TestWithoutTheProviderTheConsoleIsClosed(t *testing.T) {
	b, provider := newGuarded(t)
	provider.Down()
	for _, path := range []string{"/", "/console/settings", "/console/events?view=orders"} {
		status, text := b.as(provider.Operator("olga"), http.MethodGet, path, "")
		assert.Equal(t, http.StatusServiceUnavailable, status, "%s: %s", path, text)
	}
}

func TestTheSubjectOfTheTokenIsRecorded(t *testing.T) {
	b, provider := newGuarded(t)
	b.store(schema.Orders, functiontest.Event(t, functiontest.Created(t, events.Item{SKU: "A", Quantity: 1, UnitPrice: 1}), 1))
	_, err := b.pool(schema.Orders).ExecContext(t.Context(), "UPDATE outbox SET status = 'ERROR', attempts = 10, last_error = 'too large'")
	require.NoError(t, err)
	subject := strings.Repeat("s", 255) // the longest (OpenID Connect Core 1.0, 2)
	var id int64
	require.NoError(t, b.pool(schema.Orders).QueryRowContext(t.Context(), "SELECT id FROM outbox").Scan(&id))
	status, text := b.as(provider.Operator(subject), http.MethodPost, "/console/outbox",
		fmt.Sprintf(`{"action":"discard","actor":"mallory","reason":"a test","rows":[{"schema":"orders","id":%d}]}`, id))
	require.Equal(t, http.StatusOK, status, text)
	require.Contains(t, text, "discarded")
	var actor string
	require.NoError(t, b.pool(schema.Operations).QueryRowContext(t.Context(), "SELECT actor FROM outbox_actions").Scan(&actor))
	assert.Equal(t, subject+" (console at 127.0.0.1)", actor)
}

func TestEveryTableHasRoomForTheLongestActor(t *testing.T) {
	b := newBench(t)
	for table, in := range map[string]string{
		"outbox_actions": schema.Operations, "dead_letter_actions": schema.Operations, "dead_letter_corrections": schema.Operations,
		"payment_actions": schema.Operations, "payment_log": schema.Payments,
	} {
		var length int
		require.NoError(t, b.pool(in).QueryRowContext(t.Context(),
			"SELECT character_maximum_length FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = ? AND column_name = 'actor'", table).Scan(&length))
		assert.Equal(t, operations.MaxActor, length, table)
	}
}
