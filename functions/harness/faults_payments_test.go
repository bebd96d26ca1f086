package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/functions/internal/operate/audit"
)

// gatewayFault is a fault of the payment gateway.
type gatewayFault struct {
	name       string
	begin, end func(t *testing.T, b *till)
	// silent tells that no order is paid meanwhile.
	silent bool
}

func gatewayFaults() []gatewayFault {
	wrong := func(name string, silent bool, around func(*till) func(http.Handler) http.Handler) gatewayFault {
		return gatewayFault{
			name, func(_ *testing.T, b *till) { b.goWrong(around(b)) }, func(_ *testing.T, b *till) { b.goWrong(nil) }, silent,
		}
	}
	always := func(around func(http.Handler) http.Handler) func(*till) func(http.Handler) http.Handler {
		return func(*till) func(http.Handler) http.Handler { return around }
	}
	return []gatewayFault{
		{"is down", func(_ *testing.T, b *till) { b.hangUp() }, func(t *testing.T, b *till) { t.Helper(); b.listen(t) }, true},
		wrong("is frozen", true, func(b *till) func(http.Handler) http.Handler { return b.hanging }),
		wrong("is slow", false, always(lateBy(300*time.Millisecond))),
		wrong("does all after its callers have given up", true, always(lateBy(1500*time.Millisecond))),
		wrong("gets all twice, and again later", false, always(twice)),
		wrong("fails after the money has moved", true, always(failingAfter(http.StatusInternalServerError))),
		wrong("is behind a proxy that is busy after the money has moved", true, always(failingAfter(http.StatusServiceUnavailable))),
	}
}

const gatewayFaultSample = 3

// TestFaultsOfThePaymentGateway lets the gateway fail while clients order and cancel. Meanwhile orders are taken and canceled,
// and those of amount 0 are confirmed; afterwards all are paid once, or not at all. CRASH_ALL=1 injects all faults.
func TestFaultsOfThePaymentGateway(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs a database server: run without -short")
	}
	seed, _ := crashSeed(t)
	var all report
	t.Cleanup(func() { all.print("the gateway") })
	for _, f := range sample(gatewayFaults(), gatewayFaultSample, seed) {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			all.add(t, f.run(t, seed))
		})
	}
}

func (f gatewayFault) run(t *testing.T, seed uint64) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	b := openTill(t, "decline=0.1,amounts=plain")
	s := newStack(t).pays(t, b.url())
	p := s.up(t, "--sample-stock=false")
	l := newLoad(p.url)
	l.pace, l.ledger = 400*time.Millisecond, s.ledger
	l.start(ctx, seed, 0)
	throughAll(ctx, t, l, p)

	before, asked := l.count(), b.asked.Load()
	f.begin(t, b)
	for range 12 { // some on every partition
		p.awaitStatus(t, l.placeAt(ctx, map[string]int{"PLENTY": 1}, 0), "CONFIRMED")
	}
	waiting := l.placeAt(ctx, map[string]int{"PLENTY": 1}, 1299)
	assert.Equal(t, http.StatusOK, l.send(ctx, http.MethodPost, "/api/orders/"+waiting+"/cancel", "", nil))
	l.mu.Lock()
	l.placed[waiting] = placed{units: map[string]int{"PLENTY": 1}, canceled: true}
	l.mu.Unlock()
	assert.Equal(t, "CANCELED", p.order(t, waiting).Status)
	if f.silent {
		held := l.placeAt(ctx, map[string]int{"PLENTY": 1}, 1299)
		<-time.After(away(t))
		assert.Equal(t, "PENDING", p.order(t, held).Status, "nobody knows whether it is paid")
	} else {
		throughAll(ctx, t, l, p)
	}
	assert.Equal(t, http.StatusOK, p.get(t, "/health", nil), "the gateway is no part of the harness")
	f.end(t, b)
	over := time.Now()
	t.Logf("%d orders were accepted meanwhile, and the gateway was asked %d times", l.count()-before, b.asked.Load()-asked)

	throughAll(ctx, t, l, p)
	l.end()
	require.NoError(t, ctx.Err(), "the clients wait for their answers in vain")
	d := s.databases(t)
	_, v, err := l.settle(ctx, d, 2*time.Minute)
	d.close()
	require.NoError(t, err)
	assert.Empty(t, l.broken)
	assert.Zero(t, l.refused)
	report := p.reportOf(t)
	assert.Zero(t, report.Breaches())
	ledger := find(t, report, audit.Gateway)
	assert.Empty(t, ledger.Skipped)
	assert.GreaterOrEqual(t, ledger.Numbers["orders"], len(l.placed))
	assert.Zero(t, ledger.Numbers["unknown"])
	p.stop(t)
	assert.NotContains(t, p.log.String(), "audit found a breach")
	return result{fault: f.name, verdict: v, settled: time.Since(over)}
}

// placeAt places an order at a unit price, in minor units, and returns its id.
func (l *load) placeAt(ctx context.Context, wanted map[string]int, price int64) string {
	for sku, n := range wanted {
		var o order
		l.send(ctx, http.MethodPost, "/api/orders", fmt.Sprintf(`{"customerEmail":"alice@example.com","items":[{"sku":%q,"quantity":%d,"unitPrice":%d}]}`, sku, n, price), &o)
		l.mu.Lock()
		l.placed[o.OrderID] = placed{units: wanted}
		l.mu.Unlock()
		return o.OrderID
	}
	return ""
}

// reportOf audits the stack of a running harness.
func (p *process) reportOf(t *testing.T) *audit.Report {
	t.Helper()
	a := launch(t, p.stack.environ, "audit", "--data", p.stack.data, "--grace", "0s", "--json")
	<-a.ended
	var report audit.Report
	require.NoError(t, json.Unmarshal(a.stdout.Bytes(), &report), a.log.String())
	return &report
}

// find returns an invariant of a report.
func find(t *testing.T, r *audit.Report, name string) *audit.Invariant {
	t.Helper()
	for _, i := range r.Invariants {
		if i.Name == name {
			return i
		}
	}
	var text bytes.Buffer
	r.Write(&text)
	require.Fail(t, "there is no invariant "+name, text.String())
	return nil
}

// A gateway loses its ledger. Payments keep what they know and believe no refund of money that the gateway does not know of;
// the auditor names the orders. An authorization whose answer nobody has recorded is asked for again. With its ledger back,
// the gateway returns the money.
func TestAGatewayThatLosesItsLedgerIsNotBelieved(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs a database server: run without -short")
	}
	b, kept := openTill(t, "amounts=plain"), t.TempDir()
	b.use(t, kept)
	s := newStack(t).pays(t, b.url())
	p := s.up(t)
	confirmed, canceled := p.placeFor(t, 1299), p.placeFor(t, 1399)
	p.awaitStatus(t, confirmed.OrderID, "CONFIRMED")
	p.awaitStatus(t, canceled.OrderID, "CONFIRMED")
	b.goWrong(failingAfter(http.StatusInternalServerError))
	unknown := p.placeFor(t, 1499)
	ledger := func() map[string]gateway.Holding {
		holdings, err := readLedger(t.Context(), s.ledger)
		require.NoError(t, err)
		return holdings
	}
	p.await(t, "the gateway has authorized, and nobody knows", func() bool { return ledger()[unknown.OrderID].Authorized == 1499 })

	b.hangUp()
	b.use(t, t.TempDir())
	b.goWrong(nil)
	b.listen(t)

	p.awaitStatus(t, unknown.OrderID, "CONFIRMED")
	assert.Equal(t, map[string]gateway.Holding{unknown.OrderID: {OrderID: unknown.OrderID, Authorized: 1499, Currency: "EUR"}}, ledger())
	require.Equal(t, http.StatusOK, p.do(t, http.MethodPost, "/api/orders/"+canceled.OrderID+"/cancel", nil, "", nil))
	d := s.databases(t)
	defer d.close()
	refund := func(text string) bool {
		found := 0
		require.NoError(t, d.each(t.Context(), "payments", "SELECT COUNT(*) FROM payments WHERE order_id = '"+canceled.OrderID+"' AND "+text, func(scan scanner) error { return scan(&found) }))
		return found == 1
	}
	p.await(t, "the refund is not believed", func() bool {
		return refund("status = 'REFUND_REQUESTED' AND last_error LIKE '%settle the payment by hand'")
	})
	report := p.reportOf(t)
	assert.Equal(t, report.Breaches(), find(t, report, audit.Gateway).Breached)
	assert.Len(t, find(t, report, audit.Gateway).Breaches, 2, "the confirmed order, and the one to be refunded")
	for _, breach := range find(t, report, audit.Gateway).Breaches {
		assert.Contains(t, breach, "the gateway's ledger does not have it")
	}

	b.hangUp()
	b.use(t, kept)
	b.listen(t)

	p.await(t, "the money is returned", func() bool { return refund("status = 'REFUNDED'") })
	assert.Equal(t, gateway.Holding{OrderID: canceled.OrderID, Authorized: 1399, Refunded: 1399, Currency: "EUR"}, ledger()[canceled.OrderID])
	assert.Zero(t, p.reportOf(t).Breaches())
	p.stop(t)
}
