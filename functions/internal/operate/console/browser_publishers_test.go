package console_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/porttest"
)

// TestTheFlowShowsTheConnectorsWithTheirLagInABrowser has a Kafka Connect that captures nothing: one connector says that it runs,
// and the other has failed.
func TestTheFlowShowsTheConnectorsWithTheirLagInABrowser(t *testing.T) {
	chromium(t)
	connect := functiontest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		task := `{"id":0,"state":"RUNNING"}`
		if strings.Contains(r.URL.Path, "inventory") {
			task = `{"id":0,"state":"FAILED","trace":"stopped\nCaused by: the log is no longer available on the server"}`
		}
		fmt.Fprintf(w, `{"connector":{"state":"RUNNING","worker_id":"w:1"},"tasks":[%s]}`, task)
	})
	b := open(t, startHarness(t, porttest.Address(t), []string{"CONNECT_URL=" + connect}, "--overlay", "cdc").url)
	b.visit("/")
	b.awaitText(".publishers li", "outbox-orders connector · running · lag below 1 s")
	b.awaitText(".publishers li", "outbox-inventory connector · failed")
	b.awaitText(".troubles li", "The connector outbox-inventory has failed: the log is no longer available on the server.")
	b.awaitText(".flow .label", "capture failed")
	b.awaitText("#outage", "Change data capture stands still")

	eval[any](b, `void fetch('/api/orders', { method: 'POST', headers: { 'Content-Type': 'application/json' },
		body: JSON.stringify({ customerEmail: 'bob@example.com', items: [{ sku: 'SKU-456', quantity: 1, unitPrice: 4500 }] }) })`)
	b.awaitText(".troubles li", "outbox-orders is")
	b.await("[...document.querySelectorAll('.flow .label')].some((e) => /lag \\d/.test(e.textContent) && e.querySelector('title').textContent.startsWith('create-order emits order.created'))")
	assert.Contains(t, eval[string](b, "document.querySelector('.publishers').textContent"), "1 unsent")
	for _, as := range looks {
		b.show(as)
		assert.Empty(t, eval[[]string](b, overprinted), as.name)
	}
	b.look("flow-connectors")
}

func TestTheFlowShowsTheRelaysInABrowser(t *testing.T) {
	chromium(t)
	b := open(t, harness(t))
	b.visit("/")
	b.awaitText(".publishers li", "publish-outbox-orders relay · lag below 1 s")
	b.awaitText(".publishers li", "publish-outbox-inventory relay · lag below 1 s")
	assert.Zero(t, eval[int](b, "document.querySelectorAll('.publishers [data-state=bad], .publishers [data-state=late], .troubles li').length"))
}
