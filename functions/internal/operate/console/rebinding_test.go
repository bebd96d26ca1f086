package console_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestAPageWhoseNameLeadsHereInABrowserGetsNothing has a page of another site whose name resolves to 127.0.0.1 once it is
// loaded: for the browser, it and the harness are the same origin.
func TestAPageWhoseNameLeadsHereInABrowserGetsNothing(t *testing.T) {
	chromium(t)
	url := harness(t)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(url, "http://"))
	require.NoError(t, err)
	const name = "rebound.example"
	b := open(t, "http://"+net.JoinHostPort(name, port), chromedp.Flag("host-resolver-rules", "MAP "+name+" 127.0.0.1"))
	b.expected = []string{"421 (Misdirected Request)"}
	b.do(chromedp.Navigate(b.url + "/openapi.json")) // whatever the answer, the page has the origin now
	require.Equal(t, b.url, eval[string](b, "location.origin"))

	const order = `{"customerEmail":"eve@example.com","items":[{"sku":"SKU-123","quantity":1,"unitPrice":1}]}`
	for _, try := range []struct{ method, path, body string }{
		{"GET", "/", ""}, {"GET", "/api/orders", ""}, {"GET", "/metrics", ""}, {"GET", "/health", ""}, {"GET", "/console/topology", ""},
		{"POST", "/api/orders", order}, {"PUT", "/api/inventory/SKU-123", `{"availableQty":0}`},
		{"POST", "/functions/create-order", order}, {"POST", "/console/deadletters", `{"action":"discard","letters":[]}`},
	} {
		body := "undefined"
		if try.body != "" {
			body = fmt.Sprintf("%q", try.body)
		}
		status := eval[int](b, fmt.Sprintf(`fetch(%q, { method: %q, headers: { 'Content-Type': 'application/json' }, body: %s }).then((r) => r.status)`, try.path, try.method, body))
		assert.Equal(t, http.StatusMisdirectedRequest, status, "%s %s", try.method, try.path)
	}
	assert.Equal(t, "refused", eval[string](b, `new Promise((done) => {
		const stream = new EventSource('/console/events?view=orders');
		stream.onmessage = (message) => done(message.data);
		stream.onerror = () => done('refused');
	})`))

	response, err := http.Get(url + "/api/orders")
	require.NoError(t, err)
	defer func() { assert.NoError(t, response.Body.Close()) }()
	var page struct{ Orders []any }
	require.NoError(t, json.NewDecoder(response.Body).Decode(&page))
	assert.Empty(t, page.Orders)
}
