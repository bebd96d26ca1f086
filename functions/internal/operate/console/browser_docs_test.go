package console_test

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestTheDocsAreTriedInABrowser sends a request from each kind of page, and the same one as the command that the page has.
func TestTheDocsAreTriedInABrowser(t *testing.T) {
	chromium(t)
	url := harness(t)
	b := open(t, url)
	b.visit("/docs")
	// try opens a form by the selector of what it is in, sends it, and waits for the status.
	try := func(within, status string) {
		t.Helper()
		b.await("document.querySelector('" + within + " .try')")
		eval[any](b, "void (document.querySelector('"+within+" .try').open = true)")
		eval[any](b, "void document.querySelector('"+within+" .try [type=submit]').click()")
		b.awaitText(within+" [role=status]", status)
	}
	eval[any](b, "void (document.querySelector('#placeOrder textarea').value = document.querySelector('#placeOrder textarea').value.replace('alice', \"o'brien\"))")
	eval[any](b, "void document.querySelector('#placeOrder textarea').dispatchEvent(new Event('input'))")
	try("#placeOrder", "201 Created")
	b.awaitText("#placeOrder [role=status]", `"status": "PENDING"`)
	b.awaitText("#placeOrder [role=status]", "location: /api/orders/")
	try("#listOrders", "o'brien@example.com")
	b.look("docs-try")

	command := eval[string](b, "document.querySelector('#placeOrder .try form > pre').textContent")
	if _, err := exec.LookPath("curl"); err == nil {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", command).Output()
		require.NoError(t, err)
		assert.Contains(t, string(out), "201 Created")
		assert.Contains(t, string(out), "Idempotency-Replayed: true", "it is the same request: %s", command)
	}

	b.visit("/docs/cloudevents")
	for _, within := range []string{`[id="order.create"]`, `[id="order.cancel"]`} {
		b.await("document.querySelectorAll('" + within + " .try').length === 2")
	}
	try(`[id="order.create"]`, "order.accepted")
	eval[any](b, `void (document.querySelectorAll('[id="order.create"] .try')[1].open = true)`)
	eval[any](b, `void document.querySelectorAll('[id="order.create"] .try [type=submit]')[1].click()`)
	b.await(`document.querySelectorAll('[id="order.create"] [role=status]')[1].textContent.includes('order.accepted')`)
	b.look("docs-cloudevents")

	b.visit("/docs/events")
	b.await("document.querySelectorAll('tbody tr').length >= 8")
	b.look("docs-events")
	b.click("order.failed")
	b.awaitText("h1", "order.failed")
	b.awaitText("li", "expire-orders")
	b.awaitText("li", "release-stock: group release-stock.order.failed")
	b.awaitText("pre", "additionalProperties")
	b.look("docs-event")
}
