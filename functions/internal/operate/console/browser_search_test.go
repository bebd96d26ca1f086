package console_test

import (
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
)

// TestAnyIDLeadsToItsPageInABrowser types ids into the box of each page, and pages through more SKUs than fit on one.
func TestAnyIDLeadsToItsPageInABrowser(t *testing.T) {
	chromium(t)
	b := open(t, harness(t, "--chaos", "poison=1", "--chaos-function", "notify"))
	b.visit("/")
	id := eval[string](b, `fetch('/api/orders', { method: 'POST', headers: { 'Content-Type': 'application/json', 'X-Correlation-ID': 'flow-needle' },
		body: JSON.stringify({ customerEmail: 'needle@example.com', items: [{ sku: 'SKU-456', quantity: 1, unitPrice: 4500 }] }) }).then((r) => r.json()).then((o) => o.orderId)`)
	eval[any](b, `(async () => { for (let n = 0; n < 620; n++) await fetch('/api/inventory/BULK-' + String(n).padStart(4, '0'), { method: 'PUT', headers: { 'Content-Type': 'application/json' },
		body: JSON.stringify({ availableQty: n }) }); for (let n = 0; n < 60; n++) await fetch('/api/orders', { method: 'POST', headers: { 'Content-Type': 'application/json' },
		body: JSON.stringify({ customerEmail: 'hay@example.com', items: [{ sku: 'SKU-123', quantity: 1, unitPrice: 4500 }] }) }); })()`)
	find := func(term string) {
		t.Helper()
		b.fill("#find", term)
		b.do(chromedp.KeyEvent(kb.Enter))
	}

	for _, term := range []string{id, id + "#1"} {
		find(term)
		b.await("location.pathname === " + quoted("/orders/"+id))
		b.awaitText(".step h3", "order.confirmed")
	}
	for _, term := range []string{"needle@example.com", "flow-needle", "NEEDLE", id[24:], "SKU-456"} {
		find(term)
		b.awaitText("main .muted", "1 order found")
		assert.Equal(t, "/orders/"+id, eval[string](b, "document.querySelector('.list a').getAttribute('href')"))
	}
	b.awaitText(".found a", "SKU-456")
	b.look("search")
	find("hay")
	b.await("document.querySelectorAll('.list tbody tr').length === 50")
	b.click("Go on")
	b.awaitText("main .muted", "60 orders found")
	find("<img src=x>")
	b.awaitText("main .muted", "No order has this")
	find("order.confirmed.dlq/0/0")
	b.await("location.pathname === '/deadletters'")
	b.awaitText("dialog[open]", "order.confirmed.dlq/0/0")
	b.click("Close")

	b.click("Stock")
	b.await("document.querySelectorAll('.levels > li').length === 100")
	for range 6 {
		first := eval[string](b, "document.querySelector('.levels .sku').textContent")
		b.click("Next page")
		b.await("document.querySelector('.levels .sku') && document.querySelector('.levels .sku').textContent !== " + quoted(first))
	}
	b.awaitText(".levels .sku", "SKU-789")
	b.click("First page")
	b.awaitText(".levels .sku", "BULK-0000")
	b.fill("#begins", "BULK-06")
	b.await("document.querySelectorAll('.levels > li').length === 20")
	assert.Equal(t, "?q=BULK-06", eval[string](b, "location.search"))
	b.visit("/stock?q=BULK-06")
	b.await("document.querySelectorAll('.levels > li').length === 20")
	b.look("stock-search")
}
