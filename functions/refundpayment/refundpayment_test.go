package refundpayment

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
)

var at = time.Date(2026, 11, 25, 12, 0, 0, 123456000, time.UTC)

// desk is a gateway that counts its refunds. before, if set, runs before each call and can fail it.
type desk struct {
	*gateway.Simulated
	before func() error

	mu      sync.Mutex
	refunds int
}

func (d *desk) Refund(ctx context.Context, r gateway.Refund) (gateway.Answer, error) {
	d.mu.Lock()
	d.refunds++
	d.mu.Unlock()
	if d.before != nil {
		if err := d.before(); err != nil {
			return gateway.Answer{}, err
		}
	}
	return d.Simulated.Refund(ctx, r)
}

func (d *desk) Lookup(ctx context.Context, key string) (gateway.Answer, error) {
	if d.before != nil {
		if err := d.before(); err != nil {
			return gateway.Answer{}, err
		}
	}
	return d.Simulated.Lookup(ctx, key)
}

// holds returns what the gateway holds for the order.
func (d *desk) holds(t *testing.T, orderID string) int64 {
	t.Helper()
	page, _, err := d.Ledger(t.Context(), "", 1000)
	require.NoError(t, err)
	for _, h := range page {
		if h.OrderID == orderID {
			return h.Authorized - h.Refunded
		}
	}
	return 0
}

func start(t *testing.T) (*Function, *desk) {
	t.Helper()
	f, d := New(), &desk{Simulated: gateway.NewSimulated(gateway.Scenario{})}
	d.Book.Trusting = false
	f.UseGateway(d)
	f.Now = func() time.Time { return at }
	return functiontest.Start(t, f, nil), d
}

// pay stores an order's payment as authorize-payment leaves it, and has the gateway authorize it if it is known to be
// AUTHORIZED, or if its request had arrived.
func pay(t *testing.T, f *Function, d *desk, status string, amount int64, arrived bool) (orderID, reference string) {
	t.Helper()
	orderID = functiontest.OrderID()
	if status == "AUTHORIZED" || arrived {
		answer, err := d.Authorize(t.Context(), gateway.Authorization{Key: gateway.AuthorizationKey(orderID), OrderID: orderID, Amount: amount, Currency: "EUR"})
		require.NoError(t, err)
		reference = answer.Reference
	}
	var recorded *string
	version := 0
	if status == "AUTHORIZED" {
		recorded, version = &reference, 1
		_, err := f.DB.ExecContext(t.Context(), "INSERT INTO payment_log (order_id, entry, amount, currency, reference, actor, created_at) VALUES (?, 'AUTHORIZED', ?, 'EUR', ?, 'authorize-payment', NOW(6))",
			orderID, amount, reference)
		require.NoError(t, err)
	}
	_, err := f.DB.ExecContext(t.Context(), `INSERT INTO payments (order_id, status, amount, currency, reference, attempts, version, items, cause, requested_at, next_attempt_at, created_at, updated_at)
		VALUES (?, ?, ?, 'EUR', ?, 1, ?, '[]', '{}', NOW(6), IF(? = 'REQUESTED', NOW(6), NULL), NOW(6), NOW(6))`, orderID, status, amount, recorded, version, status)
	require.NoError(t, err)
	return orderID, reference
}

func canceled(t *testing.T, orderID string) event.Event {
	t.Helper()
	return functiontest.Event(t, events.OrderCanceled{OrderID: orderID, CustomerEmail: "alice@example.com", PreviousStatus: events.StatusConfirmed, CreatedAt: at}, 3)
}

func failed(t *testing.T, orderID string) event.Event {
	t.Helper()
	return functiontest.Event(t, events.OrderFailed{OrderID: orderID, CustomerEmail: "alice@example.com", Reason: events.ReasonTimeout, CreatedAt: at}, 2)
}

func rows(t *testing.T, db *sql.DB, orderID string) (payment, log []string) {
	t.Helper()
	payment = mysqltest.Rows(t, db, "SELECT status, amount, reference, reason, version, next_attempt_at IS NOT NULL FROM payments WHERE order_id = ?", orderID)
	log = mysqltest.Rows(t, db, "SELECT entry, amount, reference, reason, actor FROM payment_log WHERE order_id = ? ORDER BY id", orderID)
	return payment, log
}

func tick() event.Event {
	e := event.New()
	e.SetID("tick")
	e.SetSource("/ping")
	e.SetType(base.TickType)
	return e
}

func TestRefundReturnsTheMoneyOfAnOrderThatHasEnded(t *testing.T) {
	for reason, end := range map[string]func(*testing.T, string) event.Event{events.ReasonCanceled: canceled, events.ReasonFailed: failed} {
		t.Run(reason, func(t *testing.T) {
			f, d := start(t)
			orderID, reference := pay(t, f, d, "AUTHORIZED", 1299, true)
			e := end(t, orderID)

			require.NoError(t, f.Handle(t.Context(), e))

			assert.Zero(t, d.holds(t, orderID))
			emitted := outboxtest.Drain(t, f.DB)
			require.Len(t, emitted, 1)
			fact, err := events.Decode[events.PaymentRefunded](emitted[0])
			require.NoError(t, err)
			assert.Equal(t, events.PaymentRefunded{OrderID: orderID, Amount: 1299, Currency: "EUR", Reference: fact.Reference, Reason: reason, CreatedAt: at}, fact)
			assert.NotEqual(t, reference, fact.Reference)
			assert.Equal(t, orderID+"#2", emitted[0].ID())
			assert.Equal(t, e.ID(), emitted[0].Extensions()["causationid"])
			payment, log := rows(t, f.DB, orderID)
			assert.Equal(t, []string{"REFUNDED | 1299 | " + reference + " | " + reason + " | 2 | 0"}, payment)
			assert.Equal(t, []string{
				"AUTHORIZED | 1299 | " + reference + " | NULL | authorize-payment",
				"REFUNDED | -1299 | " + fact.Reference + " | " + reason + " | refund-payment",
			}, log)
		})
	}
}

func TestARedeliveryAndASecondEndRefundNothing(t *testing.T) {
	f, d := start(t)
	orderID, _ := pay(t, f, d, "AUTHORIZED", 1299, true)
	for _, e := range []event.Event{canceled(t, orderID), canceled(t, orderID), failed(t, orderID)} {
		require.NoError(t, f.Handle(t.Context(), e))
	}
	assert.Equal(t, 1, d.refunds)
	assert.Len(t, outboxtest.Drain(t, f.DB), 1)
}

func TestMalformedAndUnknownEventsArePoison(t *testing.T) {
	f, d := start(t)
	functiontest.AssertPoison(t, f.Handle(t.Context(), functiontest.Broken(canceled(t, functiontest.OrderID()))))
	functiontest.AssertPoison(t, f.Handle(t.Context(), functiontest.Golden(t, events.OrderConfirmedType, 2)))
	assert.Zero(t, d.refunds)
	assert.Empty(t, mysqltest.Rows(t, f.DB, "SELECT order_id FROM payments"))
}

func TestAnOrderThatWasNeverChargedIsNotRefunded(t *testing.T) {
	f, d := start(t)
	declined, _ := pay(t, f, d, "DECLINED", 1299, false)
	unknown := functiontest.OrderID()
	for _, orderID := range []string{declined, unknown} {
		require.NoError(t, f.Handle(t.Context(), failed(t, orderID)))
	}
	assert.Zero(t, d.refunds)
	assert.Empty(t, outboxtest.Drain(t, f.DB))
	payment, log := rows(t, f.DB, unknown)
	assert.Equal(t, []string{"VOID | 0 | NULL | failed | 0 | 0"}, payment, "it keeps the order from being charged later")
	assert.Equal(t, []string{"VOID | 0 | NULL | failed | refund-payment"}, log)
	payment, _ = rows(t, f.DB, declined)
	assert.Contains(t, payment[0], "DECLINED")
}

// An order of amount 0 was authorized without the gateway, and is refunded without it.
func TestAnAmountOfZeroIsRefundedWithoutTheGateway(t *testing.T) {
	f, d := start(t)
	orderID, _ := pay(t, f, d, "AUTHORIZED", 0, false)
	require.NoError(t, f.Handle(t.Context(), canceled(t, orderID)))
	assert.Zero(t, d.refunds)
	assert.Equal(t, []string{events.PaymentRefundedType}, outboxtest.Types(outboxtest.Drain(t, f.DB)))
}

// The order ends while nobody knows what became of its authorization.
func TestAnUnknownAuthorizationIsRefundedOrClosed(t *testing.T) {
	for name, c := range map[string]struct {
		arrived bool
		payment string
		log     []string
		emitted []string
	}{
		"it had arrived": {true, "REFUNDED", []string{"AUTHORIZED", "REFUNDED"}, []string{events.PaymentRefundedType}},
		"it had not":     {false, "VOID", []string{"VOID"}, []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			f, d := start(t)
			orderID, reference := pay(t, f, d, "REQUESTED", 1299, c.arrived)

			require.NoError(t, f.Handle(t.Context(), canceled(t, orderID)))

			assert.Zero(t, d.holds(t, orderID))
			payment, log := rows(t, f.DB, orderID)
			assert.Contains(t, payment[0], c.payment)
			require.Len(t, log, len(c.log))
			for n, entry := range c.log {
				assert.Contains(t, log[n], entry)
			}
			if c.arrived {
				assert.Contains(t, log[0], "AUTHORIZED | 1299 | "+reference)
			}
			assert.Equal(t, c.emitted, outboxtest.Types(outboxtest.Drain(t, f.DB)))

			// The request to authorize was under way, and arrives now.
			late, err := d.Authorize(t.Context(), gateway.Authorization{Key: gateway.AuthorizationKey(orderID), OrderID: orderID, Amount: 1299, Currency: "EUR"})
			require.NoError(t, err)
			if !c.arrived {
				assert.Equal(t, gateway.Closed, late.Status)
			}
			assert.Zero(t, d.holds(t, orderID))
		})
	}
}

func TestARefundWithoutAnAnswerIsAskedAboutAgain(t *testing.T) {
	for name, arrived := range map[string]bool{"it had arrived": true, "it had not": false} {
		t.Run(name, func(t *testing.T) {
			f, d := start(t)
			orderID, reference := pay(t, f, d, "AUTHORIZED", 1299, true)
			cut := errors.New("connection reset")
			d.before = func() error {
				if arrived {
					_, err := d.Simulated.Refund(t.Context(), gateway.Refund{Key: gateway.RefundKey(orderID), AuthorizationKey: gateway.AuthorizationKey(orderID), Reference: reference, Amount: 1299, Currency: "EUR"})
					assert.NoError(t, err)
				}
				return cut
			}
			require.NoError(t, f.Handle(t.Context(), canceled(t, orderID)))
			payment, _ := rows(t, f.DB, orderID)
			assert.Contains(t, payment[0], "REFUND_REQUESTED")
			assert.Empty(t, outboxtest.Drain(t, f.DB))

			d.before = nil
			_, err := f.DB.ExecContext(t.Context(), "UPDATE payments SET next_attempt_at = NOW(6)")
			require.NoError(t, err)
			require.NoError(t, f.Handle(t.Context(), tick()))
			assert.Zero(t, d.holds(t, orderID))
			payment, log := rows(t, f.DB, orderID)
			assert.Contains(t, payment[0], "REFUNDED")
			assert.Len(t, log, 2)
			assert.Equal(t, []string{events.PaymentRefundedType}, outboxtest.Types(outboxtest.Drain(t, f.DB)))
		})
	}
}

// The gateway says that it held nothing, and payments that it holds the money: no one but an operator can know.
func TestAGatewayThatHasForgottenIsNotBelieved(t *testing.T) {
	f, d := start(t)
	orderID, _ := pay(t, f, d, "AUTHORIZED", 1299, true)
	d.Simulated = gateway.NewSimulated(gateway.Scenario{})
	d.Book.Trusting = false

	require.NoError(t, f.Handle(t.Context(), canceled(t, orderID)))

	payment, log := rows(t, f.DB, orderID)
	assert.Contains(t, payment[0], "REFUND_REQUESTED")
	assert.Len(t, log, 1)
	assert.Contains(t, mysqltest.Rows(t, f.DB, "SELECT last_error FROM payments")[0], "settle the payment by hand")
}
