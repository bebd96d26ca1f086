package audit_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/functions/internal/operate/audit"
	"example.com/orders/knative"
)

func TestMoneyThatMovesWhileTheLedgerIsReadIsNoBreach(t *testing.T) {
	t.Parallel()
	p := startPaying(t, newTopicsOf(t, paymentOverlay))
	confirmed, fresh := p.order(3), ""
	p.settle()
	p.options.Ledger = disturbed{func() {
		fresh = p.order(2)
		p.takeBack(confirmed)
		for p.relay() { // without commits: the topics have been read
			sent := p.sent
			p.sent = nil
			for _, e := range sent {
				for _, handle := range p.handlers[e.Type()] {
					require.NoError(p, handle(p.Context(), e))
				}
			}
		}
	}, p.gateway}

	r := p.audit()

	assertClean(t, r)
	assert.Equal(t, map[string]int{"orders": 2, "in flight": 2}, find(t, r, audit.Gateway).Numbers, "%s is confirmed, and %s is new", confirmed, fresh)
}

// disturbed is a ledger before whose reading something happens.
type disturbed struct {
	before func()
	of     gateway.Ledger
}

func (d disturbed) Ledger(ctx context.Context, after string, limit int) ([]gateway.Holding, string, error) {
	d.before()
	return d.of.Ledger(ctx, after, limit)
}

func TestWhatTheGatewayMayOrMayNotHaveDoneIsNoBreach(t *testing.T) {
	t.Parallel()
	c := newTopicsOf(t, paymentOverlay)
	for name, done := range map[string]bool{"the gateway has done it": true, "the gateway has not": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startPaying(t, c)
			p.gateway.Scenario = gateway.Scenario{}
			canceled := p.order(3)
			p.settle()
			broken := failing{p.gateway, done}
			p.authorize.Gateway, p.refund.Gateway = broken, broken
			p.takeBack(canceled)
			fresh := p.order(2)
			p.settle()

			r := p.audit()

			assertClean(t, r)
			assert.Equal(t, map[string]int{"orders": 2, "unknown": 2}, find(t, r, audit.Gateway).Numbers, "%s and %s", canceled, fresh)
		})
	}
}

func TestAnOrderThatIsChargedTwiceWhileItsOutcomeIsUnknownIsABreach(t *testing.T) {
	t.Parallel()
	p := startPaying(t, newTopicsOf(t, paymentOverlay))
	p.authorize.Gateway = failing{p.gateway, true}
	order := p.order(3)
	p.settle()
	p.answer("again."+gateway.AuthorizationKey(order), order, 297)

	assertOnly(t, p.audit(), audit.Gateway, "is REQUESTED, and the gateway has authorized 594 and refunded 0 EUR")
}

// failing is a gateway that answers no call, after it has done what it was asked for or not.
type failing struct {
	gateway.Gateway
	does bool
}

var errReset = errors.New("reset by the gateway")

func (f failing) Authorize(ctx context.Context, a gateway.Authorization) (gateway.Answer, error) {
	if f.does {
		_, _ = f.Gateway.Authorize(ctx, a)
	}
	return gateway.Answer{}, errReset
}

func (f failing) Refund(ctx context.Context, r gateway.Refund) (gateway.Answer, error) {
	if f.does {
		_, _ = f.Gateway.Refund(ctx, r)
	}
	return gateway.Answer{}, errReset
}

func (f failing) Lookup(context.Context, string) (gateway.Answer, error) {
	return gateway.Answer{}, errReset
}

func TestALedgerThatCannotBeReadIsSkipped(t *testing.T) {
	t.Parallel()
	p := startPaying(t, newTopicsOf(t, paymentOverlay))
	p.order(3)
	p.settle()
	for says, ledger := range map[string]gateway.Ledger{
		"has no ledger": nil, "the gateway's ledger could not be read: reset by the gateway": away{},
	} {
		p.options.Ledger = ledger
		r := p.audit()
		assertClean(t, r)
		assert.Contains(t, find(t, r, audit.Gateway).Skipped, says)
		assert.Equal(t, map[string]int{"left out": 1}, find(t, r, audit.Gateway).Numbers)
	}
}

// away is a ledger that cannot be read.
type away struct{}

func (away) Ledger(context.Context, string, int) ([]gateway.Holding, string, error) {
	return nil, "", errReset
}

func TestTheLedgerIsReadPageByPage(t *testing.T) {
	t.Parallel()
	p := startPaying(t, newTopicsOf(t, paymentOverlay))
	for range 7 {
		p.order(2)
	}
	p.settle()
	p.answer("alone", unknownOrder, 500)
	p.options.Ledger = short{p.gateway}

	r := p.audit()

	assertOnly(t, r, audit.Gateway, "order "+unknownOrder)
	assert.Equal(t, 8, find(t, r, audit.Gateway).Numbers["orders"])
}

// short is a ledger with two orders on each page.
type short struct{ of gateway.Ledger }

func (s short) Ledger(ctx context.Context, after string, _ int) ([]gateway.Holding, string, error) {
	return s.of.Ledger(ctx, after, 2)
}

func TestTheAuditReadsTheLedgerOfTheConfiguredGateway(t *testing.T) {
	t.Parallel()
	config := map[string]string{"MYSQL_DSN": "not@tcp(needed)/", knative.OverlayVariable: paymentOverlay}
	o, err := audit.Configure(config, time.Second)
	require.NoError(t, err)
	assert.Nil(t, o.Ledger, "the simulated gateway has none")

	config["PAYMENT_GATEWAY"] = "http"
	_, err = audit.Configure(config, time.Second)
	require.ErrorContains(t, err, "PAYMENT_GATEWAY_URL")
	config["PAYMENT_GATEWAY_URL"] = "http://127.0.0.1:1"
	o, err = audit.Configure(config, time.Second)
	require.NoError(t, err)
	assert.IsType(t, &gateway.HTTP{}, o.Ledger)

	delete(config, knative.OverlayVariable)
	o, err = audit.Configure(config, time.Second)
	require.NoError(t, err)
	assert.Nil(t, o.Ledger, "nothing is paid without the overlay")
}
