package main

import (
	"context"
	"io"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions"
	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/identitytest"
	"example.com/orders/functions/internal/web/httpbinding"
	"example.com/orders/functions/internal/web/identity"
	"example.com/orders/knative"
)

// sinkAddress returns the address of the process of a function, as the log says it.
func (p *process) sinkAddress(t testing.TB, function string) string {
	t.Helper()
	found := regexp.MustCompile(`function started as a process.* function=` + function + ` .*address=(\S+)`).FindStringSubmatch(p.log.String())
	require.NotNil(t, found, function)
	return "http://" + found[1]
}

// forge posts an event to a function and returns the answer. authorization is a header; it may be empty.
func forge(t testing.TB, url, authorization string, e event.Event) (status int, text string) {
	t.Helper()
	request, err := httpbinding.NewRequest(t.Context(), url, e)
	require.NoError(t, err)
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { assert.NoError(t, response.Body.Close()) }()
	answer, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(answer)
}

// forgeries are what somebody could gain by: goods that nobody has ordered, an order that fails, and mail to a customer.
func forgeries(t testing.TB, orderID string) map[string]event.Event {
	t.Helper()
	return map[string]event.Event{
		"reserve-stock":  functiontest.Event(t, functiontest.Created(t, events.Item{SKU: "SKU-123", Quantity: 5, UnitPrice: 1}), 1),
		"finalize-order": functiontest.Event(t, events.InventoryRejected{OrderID: orderID, Reason: "insufficient_stock", Shortages: []events.Shortage{{SKU: "SKU-123", Requested: 1}}, CreatedAt: time.Now()}, 9),
		"notify":         functiontest.Event(t, events.OrderCanceled{OrderID: orderID, CustomerEmail: "alice@example.com", PreviousStatus: events.StatusPending, CreatedAt: time.Now()}, 9),
	}
}

func TestForgedEventsAreRefusedByProcessesWhileOrdersGoOn(t *testing.T) {
	t.Parallel()
	const token = "the-token-of-this-deployment"
	cluster := identitytest.Start(t)
	account := func(kind, source string) string {
		return "Bearer " + cluster.Sign(cluster.Claims(knative.Subject("orders", kind, source), map[string]any{"aud": []string{"orders"}}), nil)
	}
	s := newStack(t)
	s.environ = append(s.environ, "SINK_TOKEN="+token, "SINK_ISSUER="+cluster.Issuer, "SINK_AUDIENCE=orders")
	p := s.up(t, "--deployed")

	forged := map[string]event.Event{}
	for name, authorization := range map[string]string{
		"nobody": "", "a guess": "Bearer another-token-of-some-kind", "another source": account("KafkaSource", "release-stock.order.failed"),
	} {
		placed := p.place(t, "SKU-123", 1)
		forged = forgeries(t, placed.OrderID)
		for function, e := range forged {
			for _, url := range []string{p.sinkAddress(t, function), p.url + "/functions/" + function} {
				status, text := forge(t, url, authorization, e)
				assert.Equal(t, delivery.Retry, delivery.Judge(status), "%s to %s: %d %s", name, url, status, text)
				assert.Contains(t, text, "its sender is not known", "%s to %s", name, url)
			}
		}
		status, _ := forge(t, p.sinkAddress(t, "publish-outbox-orders"), authorization, tick(knative.PingSource{Name: "forged", Namespace: "orders"}))
		assert.Equal(t, http.StatusServiceUnavailable, status, name)
		p.awaitStatus(t, placed.OrderID, "CONFIRMED")
	}
	assert.Equal(t, 3, p.level(t, "SKU-123").ReservedQty, "what customers have ordered")
	assert.NotContains(t, p.log.String(), "delivery failed", "the events of this harness are taken")
	assert.NotContains(t, p.log.String(), token)
	p.audit(t)

	// The same events are good ones when their sources send them.
	for function, authorization := range map[string]string{
		"reserve-stock": account("KafkaSource", "reserve-stock.order.created"), "finalize-order": "Bearer " + token, "notify": account("KafkaSource", "notify.order.canceled"),
	} {
		status, text := forge(t, p.sinkAddress(t, function), authorization, forged[function])
		assert.Equal(t, http.StatusOK, status, "%s: %s", function, text)
	}
	assert.Equal(t, 8, p.level(t, "SKU-123").ReservedQty)
}

func TestProcessesTakeEventsFromTheirHarnessOnly(t *testing.T) {
	t.Parallel()
	p := newStack(t).up(t, "--deployed")
	placed := p.place(t, "SKU-123", 1)
	for function, e := range forgeries(t, placed.OrderID) {
		status, _ := forge(t, p.sinkAddress(t, function), "", e)
		assert.Equal(t, http.StatusServiceUnavailable, status, function)
	}
	p.awaitStatus(t, placed.OrderID, "CONFIRMED")
}

func TestTheTokenOfAHarnessIsItsOwnUnlessOneIsSet(t *testing.T) {
	first, second := ownToken(nil), ownToken(nil)
	assert.NotEqual(t, first, second)
	assert.GreaterOrEqual(t, len(first[sinkToken]), 26)
	assert.Equal(t, map[string]string{"SINK_TOKEN_FILE": "token"}, ownToken(map[string]string{"SINK_TOKEN_FILE": "token", "MYSQL_DSN": "x"}))
}

// TestFunctionsOfAHarnessAreOpenUntilSomebodyLogsIn checks who may post to /functions/NAME in this process.
func TestFunctionsOfAHarnessAreOpenUntilSomebodyLogsIn(t *testing.T) {
	provider := identitytest.Start(t)
	h := &harness{own: ownToken(nil)}
	var err error
	h.token, err = identity.NewToken(h.own, sinkToken)
	require.NoError(t, err)
	request := func(authorize func(*http.Request)) *http.Request {
		r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://127.0.0.1/", nil)
		require.NoError(t, err)
		authorize(r)
		return r
	}
	nobody := request(func(*http.Request) {})
	console := request(h.token.Authorize)
	operator := request(func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+provider.Operator("olga")) })

	f := functions.Catalogue["notify"]()
	open, err := h.sourcesOf(f, nil)
	require.NoError(t, err)
	for _, r := range []*http.Request{nobody, console, operator} {
		assert.NoError(t, open.Check(r))
	}
	closed, err := h.sourcesOf(f, provider.Config())
	require.NoError(t, err)
	assert.Error(t, closed.Check(nobody))
	assert.NoError(t, closed.Check(console))
	assert.NoError(t, closed.Check(operator))
}
