package audit_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/authorizepayment"
	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/functions/internal/operate/audit"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/functions/refundpayment"
	"example.com/orders/sql/schema"
)

// paying is a system whose orders are paid.
type paying struct {
	*system
	gateway   *gateway.Simulated
	authorize *authorizepayment.Function
	refund    *refundpayment.Function
}

const paymentOverlay = "payment"

// startPaying starts a system like start, with payments and a gateway that declines an amount of 1501.
func startPaying(t *testing.T, c kafkatest.Cluster) *paying {
	t.Helper()
	p := &paying{
		system: startOverlay(t, c, paymentOverlay), gateway: gateway.NewSimulated(gateway.Scenario{}),
		authorize: authorizepayment.New(), refund: refundpayment.New(),
	}
	p.options.Ledger = p.gateway
	p.authorize.UseGateway(p.gateway)
	p.refund.UseGateway(p.gateway)
	for _, f := range []functiontest.Function{p.authorize, p.refund} {
		f.Shared().DB, f.Shared().Log = p.db[schema.Payments], slog.New(slog.DiscardHandler)
		functiontest.Start(t, f, nil)
	}
	then := func(eventType string, handle func(context.Context, event.Event) error) {
		p.handlers[eventType] = append(p.handlers[eventType], handle)
	}
	p.handlers[events.PaymentAuthorizedType] = p.handlers[events.OrderCreatedType]
	p.handlers[events.PaymentDeclinedType] = p.handlers[events.InventoryReservedType]
	p.handlers[events.OrderCreatedType] = nil
	then(events.OrderCreatedType, p.authorize.Handle)
	then(events.OrderFailedType, p.refund.Handle)
	then(events.OrderCanceledType, p.refund.Handle)
	return p
}

// paid are the orders of a system, one for each way in which a payment ends.
type paid struct{ confirmed, short, canceled, declined, void string }

// all places an order for each way, and leaves nothing in flight.
func (p *paying) all() (o paid) {
	p.Helper()
	o = paid{confirmed: p.order(3), short: p.order(30), canceled: p.order(2), declined: p.priced(3, 702)}
	p.settle()
	p.takeBack(o.canceled)
	o.void = p.order(2)
	p.takeBack(o.void)
	p.refundFirst()
	return o
}

// refundFirst relays, and delivers order.canceled to refund-payment before order.created to authorize-payment.
func (p *paying) refundFirst() {
	p.Helper()
	p.relay()
	for _, e := range p.sent {
		if e.Type() == events.OrderCanceledType {
			require.NoError(p, p.refund.Handle(p.Context(), e))
		}
	}
	for _, e := range p.sent {
		for _, handle := range p.handlers[e.Type()] {
			require.NoError(p, handle(p.Context(), e))
		}
	}
	p.sent = nil
	p.settle()
}

func TestAuditOfOrdersThatArePaidIsClean(t *testing.T) {
	t.Parallel()
	p := startPaying(t, newTopicsOf(t, paymentOverlay))
	assertClean(t, p.audit())
	p.all()

	r := p.audit()

	assertClean(t, r)
	assert.Empty(t, r.Exceptions)
	assert.Equal(t, map[string]int{"CONFIRMED": 1, "FAILED": 2, "CANCELED": 2}, find(t, r, audit.Money).Numbers)
	assert.Equal(t, map[string]int{"AUTHORIZED": 1, "REFUNDED": 2, "DECLINED": 1, "VOID": 1, "log rows": 7}, find(t, r, audit.PaymentLog).Numbers)
	assert.Equal(t, map[string]int{"orders": 5}, find(t, r, audit.Gateway).Numbers)
	once := find(t, r, audit.Once).Numbers
	assert.Equal(t, []int{3, 2}, []int{once["authorizations"], once["refunds"]})
}

func TestAuditWithoutPaymentsSaysNothingAboutMoney(t *testing.T) {
	t.Parallel()
	s := start(t, newTopics(t))
	ended(s)
	for _, i := range s.audit().Invariants {
		assert.NotContains(t, []string{audit.Money, audit.PaymentLog, audit.Gateway}, i.Name)
		assert.NotContains(t, i.Numbers, "refunds")
	}
}

func TestAuditSeesEachBreachAboutMoney(t *testing.T) {
	t.Parallel()
	c := newTopicsOf(t, paymentOverlay)
	set := func(p *paying, id, assignments string) {
		p.exec(schema.Payments, "UPDATE payments SET "+assignments+" WHERE order_id = ?", id)
	}
	tests := map[string]struct {
		breaks    func(p *paying, o paid)
		invariant string
		says      string
	}{
		"failed, and the money is held": {func(p *paying, o paid) {
			p.exec(schema.Orders, "UPDATE orders SET status = 'FAILED' WHERE id = ?", o.confirmed)
			p.exec(schema.Inventory, "UPDATE reservation_log SET delta_reserved = 0 WHERE order_id = ?", o.confirmed)
			p.exec(schema.Inventory, "UPDATE inventory SET available_qty = 10, reserved_qty = 0")
		}, audit.Money, "is FAILED and its payment is AUTHORIZED"},
		"confirmed without money": {func(p *paying, o paid) {
			p.exec(schema.Orders, "UPDATE orders SET status = 'CONFIRMED' WHERE id = ?", o.declined)
			p.exec(schema.Orders, "UPDATE order_items SET sku = 'SKU-0' WHERE order_id = ?", o.declined)
			p.exec(schema.Inventory, inventoryLog, "x", "SKU-0", o.declined, 4, "RESERVED")
			p.exec(schema.Inventory, "INSERT INTO inventory (sku, available_qty, reserved_qty, version, updated_at) VALUES ('SKU-0', 0, 4, 1, NOW(6))")
			p.exec(schema.Inventory, "INSERT INTO stock_log (sku, delta, reason, available_after, reserved_after, version_after, created, correlation_id, created_at) VALUES ('SKU-0', 4, 'set', 0, 4, 1, TRUE, '', NOW(6))")
		}, audit.Money, "is CONFIRMED and its payment is DECLINED"},
		"a payment is lost": {func(p *paying, o paid) {
			p.exec(schema.Payments, "DELETE FROM payments WHERE order_id = ?", o.void)
			p.exec(schema.Payments, "DELETE FROM payment_log WHERE order_id = ?", o.void)
		}, audit.Money, "is CANCELED and has no payment"},
		"a payment of no order": {func(p *paying, _ paid) {
			p.exec(schema.Payments, `INSERT INTO payments (order_id, status, amount, currency, attempts, version, items, cause, requested_at, created_at, updated_at)
				VALUES (?, 'REQUESTED', 1, 'EUR', 1, 0, '[]', '{}', NOW(6), NOW(6), NOW(6))`, unknownOrder)
		}, audit.Money, "was never accepted and its payment is REQUESTED"},
		"refunded while the order goes on": {func(p *paying, o paid) {
			p.exec(schema.Orders, "UPDATE orders SET status = 'PENDING' WHERE id = ?", o.void)
		}, audit.Money, "is PENDING and its payment is VOID"},
		"stock before money": {func(p *paying, o paid) {
			p.exec(schema.Orders, "UPDATE orders SET status = 'PENDING' WHERE id = ?", o.confirmed)
			set(p, o.confirmed, "status = 'DECLINED', reference = NULL")
			p.exec(schema.Payments, "UPDATE payment_log SET entry = 'DECLINED', amount = 0 WHERE order_id = ?", o.confirmed)
			p.giveBack(o.confirmed)
		}, audit.Money, "is PENDING and holds stock, and its payment is DECLINED"},
		"an outcome that is unknown for long": {func(p *paying, o paid) {
			set(p, o.short, "status = 'REFUND_REQUESTED', requested_at = TIMESTAMPADD(MINUTE, -16, requested_at), version = 1")
			p.exec(schema.Payments, "DELETE FROM payment_log WHERE order_id = ? AND entry = 'REFUNDED'", o.short)
			p.exec(schema.Payments, "DELETE FROM outbox WHERE aggregate_id = ? AND type = 'payment.refunded'", o.short)
		}, audit.Money, "its payment is REFUND_REQUESTED since"},
		"an authorization that is not logged": {func(p *paying, o paid) {
			p.exec(schema.Payments, "DELETE FROM payment_log WHERE order_id = ?", o.confirmed)
		}, audit.PaymentLog, "its payment is AUTHORIZED and holds 297, and payment_log has 0"},
		"a refund that is not logged": {func(p *paying, o paid) {
			p.exec(schema.Payments, "DELETE FROM payment_log WHERE order_id = ? AND entry = 'REFUNDED'", o.canceled)
		}, audit.PaymentLog, "its payment is REFUNDED and holds 0, and payment_log has 197"},
		"a decline that is not logged": {func(p *paying, o paid) {
			p.exec(schema.Payments, "DELETE FROM payment_log WHERE order_id = ?", o.declined)
		}, audit.PaymentLog, "its payment is DECLINED, and payment_log does not have DECLINED"},
		"a log of no payment": {func(p *paying, _ paid) {
			p.exec(schema.Payments, "INSERT INTO payment_log (order_id, entry, amount, currency, actor, created_at) VALUES (?, 'AUTHORIZED', 5, 'EUR', 'hand', NOW(6))", unknownOrder)
		}, audit.PaymentLog, "is in payment_log with 5 and has no payment"},
		"a payment in another currency": {func(p *paying, o paid) {
			p.exec(schema.Payments, "UPDATE payment_log SET currency = 'USD' WHERE order_id = ? AND entry = 'DECLINED'", o.declined)
		}, audit.PaymentLog, "payment_log has DECLINED with 0 USD, and the payment is of 1501 EUR"},
		"a payment of another amount": {func(p *paying, o paid) {
			set(p, o.declined, "amount = 1500")
		}, audit.PaymentLog, "its total is 1501 and its payment is of 1500"},
		"a payment that nobody requested": {func(p *paying, o paid) {
			set(p, o.declined, "status = 'PENDING'")
			p.exec(schema.Orders, "UPDATE orders SET status = 'PENDING' WHERE id = ?", o.declined)
		}, audit.PaymentLog, "its payment is PENDING, which no transaction commits"},
		"ended twice": {func(p *paying, o paid) {
			p.exec(schema.Payments, "INSERT INTO payment_log (order_id, entry, amount, currency, actor, created_at) VALUES (?, 'VOID', 0, '', 'hand', NOW(6))", o.void)
		}, audit.Once, "is VOID 2 times in payment_log"},
		"a gap in the facts of a payment": {func(p *paying, o paid) {
			set(p, o.confirmed, "version = 2")
		}, audit.Facts, "is at version 2 of /payments and its fact 2 is neither"},
		"a fact about no payment": {func(p *paying, _ paid) {
			p.emit(schema.Payments, events.PaymentRefundedType, unknownOrder, unknownOrder+"#1", events.PaymentsSource)
		}, audit.Facts, "in the outbox of payments is about an order that the schema does not have"},
		"the gateway does not hold what it should": {func(p *paying, _ paid) {
			p.options.Ledger = gateway.NewSimulated(gateway.Scenario{})
			p.exec(schema.Payments, "DELETE FROM payments WHERE status = 'REFUNDED'")
			p.exec(schema.Payments, "DELETE FROM payment_log WHERE entry IN ('AUTHORIZED', 'REFUNDED') AND order_id NOT IN (SELECT order_id FROM payments)")
			p.exec(schema.Payments, "DELETE FROM outbox WHERE aggregate_id NOT IN (SELECT order_id FROM payments)")
			p.forget("SELECT id FROM orders WHERE status IN ('FAILED', 'CANCELED')")
		}, audit.Gateway, "its payment of 297 EUR is AUTHORIZED, and the gateway's ledger does not have it"},
		"the gateway holds what it declined": {func(p *paying, o paid) {
			p.answer("again."+gateway.AuthorizationKey(o.declined), o.declined, 1501)
		}, audit.Gateway, "is DECLINED, and the gateway has authorized 1501 and refunded 0 EUR"},
		"the gateway holds what was never asked for": {func(p *paying, o paid) {
			p.answer(gateway.AuthorizationKey(o.void)+".late", o.void, 197)
		}, audit.Gateway, "is VOID, and the gateway has authorized 197"},
		"charged twice": {func(p *paying, o paid) {
			p.answer("again."+gateway.AuthorizationKey(o.confirmed), o.confirmed, 297)
		}, audit.Gateway, "is AUTHORIZED, and the gateway has authorized 594 and refunded 0 EUR"},
		"returned behind the back of payments": {func(p *paying, o paid) {
			p.giveBack(o.confirmed)
		}, audit.Gateway, "is AUTHORIZED, and the gateway has authorized 297 and refunded 297 EUR"},
		"an order that only the gateway knows": {func(p *paying, _ paid) {
			p.answer("alone", unknownOrder, 500)
		}, audit.Gateway, "order " + unknownOrder + ": it has no payment, and the gateway has authorized 500"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startPaying(t, c)
			test.breaks(p, p.all())
			assertOnly(t, p.audit(), test.invariant, test.says)
		})
	}
}

// answer has the gateway hold an amount for an order by a key, whatever the amount forces.
func (p *paying) answer(key, order string, amount int64) {
	p.Helper()
	_, _, err := p.gateway.Book.Authorize(gateway.Authorization{Key: key, OrderID: order, Amount: amount, Currency: "EUR"}, "")
	require.NoError(p, err)
}

// giveBack has the gateway return the money of the confirmed order.
func (p *paying) giveBack(order string) {
	p.Helper()
	_, err := p.gateway.Refund(p.Context(), gateway.Refund{Key: "by.hand", AuthorizationKey: gateway.AuthorizationKey(order), Amount: 297, Currency: "EUR"})
	require.NoError(p, err)
}

// forget makes orders that a query finds older than the retention.
func (p *paying) forget(query string) {
	p.Helper()
	p.exec(schema.Orders, "UPDATE orders SET created_at = TIMESTAMPADD(DAY, -9, created_at) WHERE id IN (SELECT id FROM ("+query+") old)")
}

func TestAPaymentWhoseEventsAreOnTheirWayIsNoBreach(t *testing.T) {
	t.Parallel()
	p := startPaying(t, newTopicsOf(t, paymentOverlay))
	confirmed, fresh := p.order(3), p.order(2)
	p.settle()
	p.takeBack(confirmed)
	p.takeBack(fresh)
	r := p.audit() // order.canceled waits in the outbox
	assertClean(t, r)
	assert.Equal(t, 2, find(t, r, audit.Money).Numbers["in flight"])

	p.relay()
	r = p.audit() // it waits in its topic
	assertClean(t, r)
	assert.Equal(t, 2, find(t, r, audit.Money).Numbers["in flight"])

	p.sent = nil
	p.commit() // it is lost
	assert.Equal(t, 2, find(t, p.audit(), audit.Money).Breached)
}
