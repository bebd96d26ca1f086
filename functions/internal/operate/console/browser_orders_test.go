package console_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/porttest"
)

// lossy is a proxy before a harness that passes on requests for new orders and loses the answers.
type lossy struct {
	losing atomic.Bool

	mu   sync.Mutex
	keys []string // of the requests for new orders
}

// start serves the proxy and returns its URL.
func (l *lossy) start(t *testing.T, target string) string {
	t.Helper()
	to, err := url.Parse(target)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.FlushInterval = -1 // events at once
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			proxy.ServeHTTP(w, r)
			return
		}
		r.Header.Set("Origin", target) // the browser's origin is the proxy
		r.Host = to.Host
		l.mu.Lock()
		l.keys = append(l.keys, r.Header.Get("Idempotency-Key"))
		l.mu.Unlock()
		if !l.losing.Load() {
			proxy.ServeHTTP(w, r)
			return
		}
		proxy.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler) // the connection breaks
	}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL
}

// distinct returns the number of keys since the last call, and of different ones.
func (l *lossy) distinct() (requests, keys int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	different := map[string]bool{}
	for _, key := range l.keys {
		different[key] = true
	}
	requests, l.keys = len(l.keys), nil
	return requests, len(different)
}

func (b *browser) ordersAt(harness string) int {
	b.t.Helper()
	orders := eval[string](b, "document.querySelector('.segments .muted').textContent")
	b.t.Logf("the list of %s has %s orders", harness, orders)
	count := 0
	_, err := fmt.Sscan(orders, &count)
	require.NoError(b.t, err)
	return count
}

// TestARetryOfAFormPlacesItsOrdersOnceInABrowser loses the answers to new orders: the page tries again by itself and keeps the
// keys, also when its user goes elsewhere and reloads it, until it has an answer.
func TestARetryOfAFormPlacesItsOrdersOnceInABrowser(t *testing.T) {
	chromium(t)
	target := harness(t)
	var proxy lossy
	b := open(t, proxy.start(t, target))
	b.expected = []string{"net::ERR_"}
	proxy.losing.Store(true)
	b.visit("/orders")
	b.awaitText(".segments .muted", "0")
	b.fill("#email", "bob@example.com")
	b.click("Place order")
	b.awaitText(".said", "asking again with the same key")
	b.awaitText(".said", "not known whether the order is there")
	assert.True(t, eval[bool](b, "document.querySelector('#email').matches(':disabled')"), "it is about the order that was asked for")
	b.click("Stock")
	b.click("Orders")
	b.awaitText(".said", "Asking again cannot place it twice")
	b.visit("/orders")
	b.awaitText(".said", "Asking again cannot place it twice")
	b.await("document.querySelector('#email').value === 'bob@example.com'")
	b.look("order-unanswered")
	requests, keys := proxy.distinct()
	assert.Equal(t, 1, keys)
	assert.Greater(t, requests, 1)

	proxy.losing.Store(false)
	b.click("Ask again")
	b.awaitText(".said", "Accepted")
	b.awaitText(".segments .muted", "1")
	assert.Equal(t, 1, b.ordersAt(target))

	b.await("!document.querySelector('#email').matches(':disabled')")
	b.click("Place order")
	b.await("document.querySelector('.segments .muted').textContent === '2'")
	_, keys = proxy.distinct()
	assert.Equal(t, 2, keys, "the answer ended the first one's key")

	proxy.losing.Store(true)
	b.click("Place 100")
	b.awaitText(".said", "No answer for 100 of 100")
	proxy.losing.Store(false)
	b.click("Ask again for 100")
	b.awaitText(".said", "100 of 100 accepted")
	b.await("document.querySelector('.segments .muted').textContent === '102'")
	_, keys = proxy.distinct()
	assert.Equal(t, 100, keys)

	b.click("Stock")
	proxy.losing.Store(true)
	b.click("Restock SKU-789")
	b.awaitText(".toast", "not known whether it took effect")
	proxy.losing.Store(false)
	b.click("Restock SKU-789")
	b.awaitText(".toast", "SKU-789: 105 units are available") // it has 5 at first
}

// TestPricesAreInMajorUnitsAndTimesInTheWantedZoneInABrowser has a currency without minor units, and one with three digits.
func TestPricesAreInMajorUnitsAndTimesInTheWantedZoneInABrowser(t *testing.T) {
	chromium(t)
	for currency, c := range map[string]struct{ refused, typed, minor, shown string }{
		"JPY": {"12.5", "1299", "1299", "¥1,299"},
		"KWD": {"1.2345", "12.345", "12345", "KWD\u00a012.345"},
		"EUR": {"0.125", "12,5", "1250", "€12.50"},
	} {
		t.Run(currency, func(t *testing.T) {
			b := open(t, startHarness(t, porttest.Address(t), []string{"CURRENCY=" + currency}).url)
			b.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
				_, err := cdp.Call(ctx, t, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "Asia/Tokyo"})
				return err
			}))
			b.visit("/orders")
			b.awaitText("label", "Unit price ("+currency+")")
			b.fill("[name=unitPrice]", c.refused)
			b.click("Place order")
			b.await("document.querySelector('[name=unitPrice]').matches(':invalid')")
			b.fill("[name=unitPrice]", c.typed)
			b.click("Place order")
			b.awaitText(".said", "Accepted")
			b.awaitText(".list td", c.shown)
			assert.Equal(t, c.minor, eval[string](b, "fetch('/api/orders').then((r) => r.json()).then(({ orders }) => String(orders[0].totalAmount))"))

			b.await("/^[0-9:]{8}[.][0-9]{3} GMT[+]9$/.test(document.querySelector('.list time').textContent)")
			if eval[string](b, "document.querySelector('#utc').getAttribute('aria-pressed')") == "false" {
				b.click("UTC")
			}
			b.await("document.querySelector('.list time').textContent.endsWith(' UTC')")
			assert.Equal(t, eval[string](b, "document.querySelector('.list time').getAttribute('datetime').slice(11, 23)"),
				strings.Fields(eval[string](b, "document.querySelector('.list time').textContent"))[0])
			b.visit("/orders")
			b.await("document.querySelector('#utc').getAttribute('aria-pressed') === 'true'") // it is remembered
			b.awaitText(".list time", " UTC")
			b.click("UTC")
			b.await("document.querySelector('#utc').getAttribute('aria-pressed') === 'false'")
			b.visit("/")
			b.awaitText(".flow .note", "1 record")
			assert.NotContains(t, eval[string](b, "document.querySelector('main').textContent"), "1 records")
		})
	}
}
