package console_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"example.com/orders/functions/internal/testkit/porttest"
)

// placed places an order over one unit of SKU-123 at a price, and returns its id.
func (b *browser) placed(price int) (id string) {
	b.t.Helper()
	return eval[string](b, fmt.Sprintf(`fetch('/api/orders', { method: 'POST', headers: { 'Content-Type': 'application/json' },
		body: JSON.stringify({ customerEmail: 'bob@example.com', items: [{ sku: 'SKU-123', quantity: 1, unitPrice: %d }] }) }).then((r) => r.json()).then((o) => o.orderId)`, price))
}

// TestPaymentsWithAnUnknownOutcomeAreSettledInABrowser has a gateway that nobody can reach.
func TestPaymentsWithAnUnknownOutcomeAreSettledInABrowser(t *testing.T) {
	chromium(t)
	environ := []string{"PAYMENT_GATEWAY=http", "PAYMENT_GATEWAY_URL=http://" + porttest.Address(t)}
	b := open(t, startHarness(t, porttest.Address(t), environ, "--overlay", "payment").url)
	b.visit("/")
	b.click("Payments")
	b.awaitText(".empty", "There are no payments yet")
	held, declined, canceled := b.placed(1299), b.placed(2500), b.placed(450)
	b.awaitText(".heading [role=status]", "The outcome of 3 payments is unknown")
	b.await("document.querySelectorAll('.payments tbody tr').length === 3 && [...document.querySelectorAll('.payments tbody .known')].every((e) => e.textContent)")
	assert.Equal(t, held, eval[string](b, "document.querySelector('.payments tbody a').title"), "the oldest is the first")
	b.awaitText(".payments td", "€12.99")
	b.awaitText(".payments td", "authorize")
	b.look("payments")

	b.click("Ask again about all")
	b.awaitText("dialog[open] .results", "3 payments")
	b.fill("#ask-reason", "it is back")
	b.click("Ask again")
	b.awaitText(".toast", "due now")
	b.awaitText("td", "retry")

	b.settled(held, "The money is held", "ch_1", "recorded as held under ch_1; payment.authorized is emitted")
	b.settled(declined, "No money is held, and none will be", "card_declined", "recorded as declined; payment.declined is emitted")
	b.awaitText("td", "carol (console at 127.0.0.1)")
	b.awaitText("td", "authorized as ch_1, done")
	b.awaitText(".payments td", "refund") // the gateway is asked to return what it may hold after all
	b.awaitText(".heading [role=status]", "The outcome of 2 payments is unknown")
	b.look("payments-settled")
	eval[any](b, "void [...document.querySelectorAll('.segments button')].find((e) => e.textContent.startsWith('authorized')).click()")
	b.await("location.search === '?state=authorized' && document.querySelectorAll('.payments tbody tr').length === 1")
	b.awaitText(".payments td", "ch_1")

	b.visit("/orders/" + held)
	b.awaitText(".heading .badge", "confirmed")
	b.awaitText(".step .money", "€12.99 held as ch_1")
	b.awaitText("[aria-labelledby=money-title] td", "+€12.99")
	b.awaitText("[aria-labelledby=money-title] td", "carol")
	b.look("order-paid")
	b.visit("/orders/" + declined)
	b.awaitText(".step .money", "€25.00 not held: card_declined")
	b.awaitText(".facts dd", "card_declined")
	b.look("order-declined")
	b.awaitText(".warning", "It is not known whether the money was returned, since")
	b.settledAsNothing(declined)

	b.visit("/orders/" + canceled)
	b.awaitText(".warning", "It is not known whether the money is held, since")
	b.look("order-payment-unknown")
	b.click("Cancel order")
	b.click("Cancel order")
	b.awaitText(".warning", "It is not known whether the money was returned, since")
	b.settledAsNothing(canceled)
	b.awaitText("[aria-labelledby=money-title] .badge", "void")
	b.await("document.querySelector('[aria-labelledby=money-title] .actions').hidden")
	b.visit("/payments")
	b.awaitText(".heading [role=status]", "Every outcome is known")
}

// settled settles a payment of the list: what is known is checked before it is recorded.
func (b *browser) settled(order, known, detail, does string) {
	b.t.Helper()
	b.click("Settle order " + order)
	b.awaitText("dialog[open]", order+".authorize")
	b.click(known)
	b.fill("#settle-detail", "with spaces")
	b.click("Check")
	b.await("document.querySelector('#settle-detail').matches(':invalid')")
	b.fill("#settle-detail", detail)
	b.click("Check")
	b.awaitText("dialog[open] .said", "It would be "+does)
	b.fill("#settle-detail", detail)
	b.await("document.querySelector('dialog[open] [type=submit]').textContent === 'Check'") // what was checked is old
	b.click("Check")
	b.fill("#settle-reason", "seen on its pages")
	b.fill("#settle-actor", "carol")
	b.awaitText("dialog[open] .said", "It would be "+does)
	b.look("settle-" + detail)
	b.click("Settle")
	b.await("!document.querySelector('dialog')")
}

// settledAsNothing settles the refund of the order whose page is shown.
func (b *browser) settledAsNothing(order string) {
	b.t.Helper()
	b.click("Settle")
	b.awaitText("dialog[open]", order+".refund")
	b.click("No money was held")
	b.click("Check")
	b.awaitText("dialog[open] .said", "It would be recorded as never held; no event is emitted.")
	b.click("Settle")
	b.await("!document.querySelector('dialog')")
}

func TestOrdersThatAreNotPaidHaveNoPaymentsInABrowser(t *testing.T) {
	chromium(t)
	b := open(t, harness(t))
	b.visit("/payments")
	b.awaitText(".empty", "Orders are not paid here")
	b.awaitText(".empty code", "--overlay payment")
	b.look("payments-off")
	assert.True(t, eval[bool](b, "document.querySelector('nav [href=\"/payments\"]').hidden"))
	id := b.placed(1299)
	b.visit("/orders/" + id)
	b.awaitText(".step h3", "order.confirmed")
	assert.True(t, eval[bool](b, "document.querySelector('[aria-labelledby=money-title]').hidden"))
}
