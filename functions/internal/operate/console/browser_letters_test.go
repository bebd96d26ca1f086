package console_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
)

// TestAnIncidentIsWorkedOffInABrowser has more dead letters than a page, of events that notify could not handle: they are
// grouped, looked at, corrected, replayed, and their orders say what became of them.
func TestAnIncidentIsWorkedOffInABrowser(t *testing.T) {
	chromium(t)
	b := open(t, harness(t, "--chaos", "poison=1", "--chaos-function", "notify"))
	b.visit("/")
	const orders = 60
	eval[any](b, fmt.Sprintf(`Promise.all(Array.from({ length: %d }, () => fetch('/api/orders', { method: 'POST', headers: { 'Content-Type': 'application/json' },
		body: JSON.stringify({ customerEmail: 'bob@example.com', items: [{ sku: 'SKU-123', quantity: 1, unitPrice: 4500 }] }) }))).then(() => true)`, orders))
	b.awaitText(".letterbadge", strconv.Itoa(orders))

	b.visit("/deadletters")
	b.awaitText(".groups td", strconv.Itoa(orders))
	b.awaitText(".segments button", fmt.Sprintf("open %d", orders))
	b.look("incident")
	eval[any](b, "void document.querySelector('.groups .link').click()")
	b.await("location.search.includes('group=') && document.querySelector('.groups [aria-pressed=true]')")
	b.click("Older")
	b.await("location.search.includes('page=2')")
	b.awaitText(".pager", fmt.Sprintf("51 to %d of %d letters", orders, orders))
	address := eval[string](b, "location.pathname + location.search")
	b.visit(address)
	b.awaitText(".pager", "51 to")
	b.do(chromedp.NavigateBack())
	b.await("!location.search.includes('page=2')")

	letter, order := b.letterIsReadAndCompared()
	b.letterIsCorrected(letter)

	b.visit("/deadletters")
	b.click(fmt.Sprintf("Replay all %d", orders-1))
	b.awaitText("dialog[open] .results", fmt.Sprintf("%d would be sent to http", orders-1))
	b.fill("#ask-actor", "carol")
	b.look("replay-all")
	b.click("Replay")
	b.awaitText(".jobtext", fmt.Sprintf("%d of %d letters replayed", orders-1, orders-1))
	b.awaitText(".empty", "There are no open dead letters.")
	b.await("document.querySelector('.letterbadge').hidden")
	b.look("replayed")

	b.visit("/orders/" + order)
	b.awaitText(".deliveries .ok", "notify handled it by a replay of a corrected copy at")
	assert.NotContains(t, eval[string](b, "document.querySelector('.timeline').innerText"), "0.0 ms")
	b.look("order-replayed")
}

// letterIsReadAndCompared follows an order to its letter and reads that, and returns the letter and the order.
func (b *browser) letterIsReadAndCompared() (letter, order string) {
	b.t.Helper()
	b.await("document.querySelector('.list tbody tr code[title]')")
	order = eval[string](b, "document.querySelector('.list tbody tr code[title]').title")
	b.visit("/orders/" + order)
	b.awaitText(".deliveries .aside", "notify did not handle it: set aside after 1 attempt")
	b.awaitText(".deliveries .reason", "poison")
	b.look("order-set-aside")
	b.click("the dead letter")
	b.awaitText("dialog[open] .facts a", order)
	letter = eval[string](b, "document.querySelector('#letter-title').textContent")
	b.await("location.search.includes('letter=')")
	b.awaitText("dialog[open] pre", `  "orderId": "`+order)
	b.awaitText("dialog[open] .headers th", "ce_deadlettererror")
	b.click("Compare")
	b.await("document.querySelector('dialog[open] .diff [data-side=first]') && document.querySelector('dialog[open] .diff [data-side=second]')")
	b.look("letter")
	return letter, order
}

// letterIsCorrected sends a corrected copy of the letter in the dialog.
func (b *browser) letterIsCorrected(letter string) {
	b.t.Helper()
	b.click("Edit and replay")
	whole := eval[string](b, "document.querySelector('#corrected').value")
	b.set("#corrected", strings.Replace(whole, `"version": 1`, `"version": "1"`, 1))
	b.click("Send corrected copy")
	b.awaitText("dialog[open] .said.bad", "version")
	b.look("letter-refused")
	b.set("#corrected", whole)
	b.click("Check")
	b.awaitText("dialog[open] .said", "would be sent to")
	b.fill("#correct-reason", "as it should be")
	b.click("Send corrected copy")
	b.await("!document.querySelector('dialog')")
	b.visit("/deadletters?state=replayed")
	b.awaitText(".list .link", letter)
	b.click(letter)
	b.awaitText("dialog[open] summary", "as it should be")
	b.click("Close")
}

// set sets the value of a field at once.
func (b *browser) set(selector, text string) {
	b.t.Helper()
	eval[any](b, fmt.Sprintf("void (document.querySelector(%q).value = %q)", selector, text))
}
