package console_test

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestEachPageInABrowser walks through all pages like a user, without reloading. The deliveries to notify are poisoned, so
// each event becomes a dead letter.
func TestEachPageInABrowser(t *testing.T) {
	chromium(t)
	b := open(t, harness(t, "--chaos", "poison=1", "--chaos-function", "notify"))

	b.visit("/")
	b.awaitText(".connection", "live")
	b.await("document.querySelectorAll('.flow .arrow').length >= 16")
	eval[bool](b, "window.sameDocument = true")

	b.click("Orders")
	b.await("document.querySelector('[name=sku]')")
	b.fill("[name=sku]", "<script>alert(1)</script>")
	b.click("Place order")
	b.await("document.querySelector('[name=sku]').matches(':invalid')")
	b.fill("[name=sku]", "SKU-123")
	b.fill("[name=quantity]", "2")
	b.click("Place order")
	b.awaitText(".said", "Accepted")
	b.awaitText(".list .badge", "confirmed")
	b.click("Place 100")
	b.awaitText(".said", "100 of 100 accepted")
	b.await("!document.querySelector('[data-state=pending]') && document.querySelector('.list .badge[data-state=failed]')") // there were 100 units
	b.look("orders")
	b.click("Flow")
	b.awaitText(".flow .number", "✕")
	eval[any](b, `void Promise.all(Array.from({ length: 40 }, () => fetch('/api/orders', { method: 'POST', headers: { 'Content-Type': 'application/json' },
		body: JSON.stringify({ customerEmail: 'bob@example.com', items: [{ sku: 'SKU-456', quantity: 1, unitPrice: 4500 }] }) })))`)
	b.awaitText(".flow .number", "/s")
	b.await("[...document.querySelectorAll('.tile dd')].slice(0, 2).map((e) => e.textContent).join() === '0,90'")
	b.look("flow")

	b.orderIsFollowedAndCanceled()
	b.letterIsReplayed()
	b.stockComesIn()

	b.click("Outbox")
	b.awaitText(".empty", "No row is parked")
	b.awaitText("main .muted", "orders: 0 unsent")
	b.click("sent")
	b.awaitText(".list .badge", "sent")
	b.look("outbox")
	eval[any](b, "void document.querySelector('.list .link').click()")
	b.awaitText("dialog[open] pre", "specversion")
	b.look("row")
	b.click("Close")
	b.await("!document.querySelector('dialog')")

	b.click("Audit")
	b.awaitText(".verdict", "Everything holds")
	b.await("document.querySelectorAll('.invariant').length >= 8")
	b.look("audit")

	assert.True(t, eval[bool](b, "window.sameDocument"), "a page was loaded anew")
	b.do(chromedp.NavigateBack())
	b.awaitText("h1", "Outbox")

	b.visit("/orders/01a2131d-19f5-73f3-957a-f504bf20da07")
	b.awaitText("main .empty", "There is no such order")
	b.look("order-unknown")
	b.visit("/docs")
	b.awaitText("h2", "Schemas")
	b.look("docs")
}

// orderIsFollowedAndCanceled opens the saga of an order from the list, and cancels it.
func (b *browser) orderIsFollowedAndCanceled() {
	b.t.Helper()
	b.click("Orders")
	b.await("document.querySelectorAll('.segments button').length === 5 && document.querySelector('.list tbody tr')")
	eval[any](b, "void [...document.querySelectorAll('.segments button')].find((e) => e.textContent.startsWith('confirmed')).click()")
	b.await("document.querySelector('.list .badge') && [...document.querySelectorAll('.list .badge')].every((e) => e.dataset.state === 'confirmed')")
	eval[any](b, "void document.querySelector('.list a').click()")
	for _, step := range []string{"order.created", "inventory.reserved", "order.confirmed"} {
		b.awaitText(".step h3", step)
	}
	b.awaitText(".deliveries .ok", "reserve-stock handled it")
	b.awaitText(".deliveries .ok", "finalize-order handled it")
	b.awaitText(".deliveries .aside", "notify did not handle it: set aside after 1 attempt")
	b.awaitText(".timing", "sent")
	b.look("order")
	eval[any](b, "void document.querySelector('.step summary').click()")
	b.awaitText(".step details[open] pre", "specversion")
	b.click("Cancel order")
	b.awaitText("dialog[open] h2", "Cancel this order?")
	b.look("cancel")
	b.click("Cancel order")
	b.awaitText(".heading .badge", "canceled")
	b.awaitText(".step h3", "inventory.released")
	assert.True(b.t, eval[bool](b, "document.querySelector('.step details').open"), "what was opened stays open")
}

// letterIsReplayed inspects a dead letter and replays it: the function handles it now, and the letter is no longer open.
func (b *browser) letterIsReplayed() {
	b.t.Helper()
	b.await("document.querySelector('.letterbadge') && Number(document.querySelector('.letterbadge').textContent) > 0")
	eval[any](b, "void document.querySelector('nav [href=\"/deadletters\"]').click()")
	b.await("document.querySelector('.list tbody tr')")
	b.look("deadletters")
	letter := eval[string](b, "document.querySelector('.list .link').textContent")
	b.click(letter)
	b.awaitText("dialog[open] th", "ce_consumer")
	b.awaitText("dialog[open] pre", "eventType")
	b.look("letter")
	b.click("Close")
	b.await("!document.querySelector('dialog')")

	b.click("Letter " + letter)
	b.click("Replay 1")
	b.awaitText("dialog[open] .results", "would be sent to http://127.0.0.1")
	b.fill("#ask-reason", "<img src=x onerror=alert(1)>")
	b.fill("#ask-actor", "carol")
	b.look("replay")
	b.click("Replay")
	b.await("!document.querySelector('dialog')")
	b.awaitText(".jobtext", "1 of 1 letter replayed")
	b.awaitText("td", "carol (console at 127.0.0.1)")
	assert.Zero(b.t, eval[int](b, "document.querySelectorAll('main img').length"), "what somebody wrote became markup")
	b.await("![...document.querySelectorAll('.list .link')].some((e) => e.textContent === " + quoted(letter) + ")")
	eval[any](b, "void [...document.querySelectorAll('.segments button')].find((e) => e.textContent.startsWith('replayed')).click()")
	b.awaitText(".list .link", letter)
}

// stockComesIn creates a SKU with a unique name, and adds stock to it with the keyboard alone.
func (b *browser) stockComesIn() {
	b.t.Helper()
	b.click("Stock")
	b.await("document.querySelectorAll('.levels > li').length === 3")
	b.fill("#new-sku", "SKU-NEW")
	b.do(chromedp.KeyEvent(kb.Enter))
	b.awaitText(".levels .sku", "SKU-NEW")
	eval[any](b, "void document.querySelector('[aria-label^=\"Units to add to SKU-NEW\"]').focus()")
	b.do(chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Enter))
	b.awaitText(".levels .numbers", "200 free")
	b.look("stock")
}

// TestEveryPartIsReachedByTheKeyboard tabs through a page: each focused element shows its focus and has a name.
func TestEveryPartIsReachedByTheKeyboard(t *testing.T) {
	chromium(t)
	b := open(t, harness(t, "--overlay", "payment"))
	for _, path := range []string{"/", "/orders", "/search?q=SKU-123", "/stock", "/payments", "/outbox", "/deadletters", "/audit"} {
		b.visit(path)
		b.awaitText(".connection", "live")
		reached := map[string]bool{}
		for range 40 {
			b.do(chromedp.KeyEvent(kb.Tab))
			focused := eval[struct {
				Name, Outline string
			}](b, `(() => { const e = document.activeElement; const label = e.labels?.[0]?.textContent;
				if (e === document.body) return { Name: 'the browser', Outline: 'its own' };
				return { Name: (e.getAttribute('aria-label') ?? label ?? e.textContent).trim(), Outline: getComputedStyle(e).outlineStyle }; })()`)
			require.NotEmpty(t, focused.Name, "something on %s has no name", path)
			if !reached[focused.Name] {
				assert.NotEqual(t, "none", focused.Outline, "%s on %s does not show its focus", focused.Name, path)
			}
			reached[focused.Name] = true
		}
		for _, name := range []string{"Skip to the content", "Flow", "Orders", "Stock", "Payments", "Outbox", "Dead letters", "Audit"} {
			assert.Contains(t, reached, name, path)
		}
		if path == "/orders" {
			for _, name := range []string{"Customer e-mail", "SKU", "Quantity", "Place order", "Place 100"} {
				assert.Contains(t, reached, name, path)
			}
		}
	}
}

func quoted(text string) string { return `"` + strings.ReplaceAll(text, `"`, `\"`) + `"` }
