package functions_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/authorizepayment"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/functions/internal/function/payment"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/functions/refundpayment"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/transaction"
)

// till has the functions of the payments schema, on one schema, one pool and one gateway.
type till struct {
	db        *sql.DB
	gateway   *gateway.Simulated
	authorize *authorizepayment.Function
	refund    *refundpayment.Function
}

func openTill(t *testing.T, s gateway.Scenario, around func(gateway.Gateway) gateway.Gateway) till {
	t.Helper()
	till := till{mysqltest.Open(t, schema.Payments), gateway.NewSimulated(s), authorizepayment.New(), refundpayment.New()}
	till.gateway.Book.Trusting = false
	till.authorize.UseGateway(around(till.gateway))
	till.refund.UseGateway(around(till.gateway))
	for _, f := range []functiontest.Function{till.authorize, till.refund} {
		f.Shared().DB = till.db
		f.Shared().Log = slog.New(slog.DiscardHandler)
		functiontest.Start(t, f, nil)
	}
	return till
}

func plain(g gateway.Gateway) gateway.Gateway { return g }

// sweep ends the waits of all requests, and has both functions ask again.
func (s till) sweep(t *testing.T) {
	t.Helper()
	_, err := s.db.ExecContext(t.Context(), "UPDATE payments SET next_attempt_at = NOW(6) WHERE next_attempt_at IS NOT NULL")
	require.NoError(t, err)
	tick := functiontest.Golden(t, events.OrderCreatedType, 1)
	tick.SetType(base.TickType)
	require.NoError(t, s.authorize.Handle(t.Context(), tick))
	require.NoError(t, s.refund.Handle(t.Context(), tick))
}

// assertNothingHeld asserts that no money is held for the orders, by the gateway and by the log, and that each fact of an
// order has its own number.
func (s till) assertNothingHeld(t *testing.T, orders int) {
	t.Helper()
	page, _, err := s.gateway.Ledger(t.Context(), "", 1000)
	require.NoError(t, err)
	for _, h := range page {
		assert.Equal(t, h.Authorized, h.Refunded, "order %s at the gateway", h.OrderID)
		sums := mysqltest.Rows(t, s.db, "SELECT SUM(IF(amount > 0, amount, 0)), SUM(amount) FROM payment_log WHERE order_id = ?", h.OrderID)
		assert.Equal(t, []string{fmt.Sprintf("%d | 0", h.Authorized)}, sums, "the log of order %s", h.OrderID)
	}
	assert.Equal(t, orders, mysqltest.Count(t, s.db, "SELECT COUNT(*) FROM payments WHERE status IN ('REFUNDED', 'VOID', 'DECLINED')"))
	seen := map[string]bool{}
	for _, e := range outboxtest.Drain(t, s.db) {
		assert.False(t, seen[e.ID()], "two facts are %s", e.ID())
		seen[e.ID()] = true
	}
}

// orderAndEnd returns the event that asks for the money of an order, and the one that ends it.
func orderAndEnd(t *testing.T, amount int64) (begin, end event.Event) {
	t.Helper()
	order := functiontest.Created(t, events.Item{SKU: "A", Quantity: 1, UnitPrice: amount})
	return functiontest.Event(t, order, 1), functiontest.Event(t, events.OrderFailed{
		OrderID: order.OrderID, CustomerEmail: order.CustomerEmail, Reason: events.ReasonTimeout, CreatedAt: time.Now(),
	}, 2)
}

// held is a gateway that holds up calls to authorize, before or after their effect.
type held struct {
	gateway.Gateway
	before bool
	asked  chan struct{} // gets an element when a call is held up
	answer chan struct{} // lets the calls go on when it is closed
}

func (h held) Authorize(ctx context.Context, a gateway.Authorization) (gateway.Answer, error) {
	if !h.before {
		defer func() { h.asked <- struct{}{}; <-h.answer }()
		return h.Gateway.Authorize(ctx, a)
	}
	h.asked <- struct{}{}
	<-h.answer
	return h.Gateway.Authorize(ctx, a)
}

// The order expires while its authorization is under way. The answer comes late, and is refunded, or the gateway never holds
// the money.
func TestAnAuthorizationThatComesLateIsNotKept(t *testing.T) {
	for name, before := range map[string]bool{"the gateway has it": false, "the gateway gets it later": true} {
		t.Run(name, func(t *testing.T) {
			h := held{before: before, asked: make(chan struct{}, 1), answer: make(chan struct{})}
			s := openTill(t, gateway.Scenario{}, func(g gateway.Gateway) gateway.Gateway { h.Gateway = g; return h })
			begin, end := orderAndEnd(t, 1299)
			authorized := make(chan error, 1)
			go func() { authorized <- s.authorize.Handle(t.Context(), begin) }()
			<-h.asked

			require.NoError(t, s.refund.Handle(t.Context(), end))
			close(h.answer)
			require.NoError(t, <-authorized)

			assert.Equal(t, 0, mysqltest.Count(t, s.db, "SELECT COUNT(*) FROM outbox WHERE type = 'payment.authorized'"))
			want := map[bool]int{false: 1, true: 0}[before]
			assert.Equal(t, want, mysqltest.Count(t, s.db, "SELECT COUNT(*) FROM outbox WHERE type = 'payment.refunded'"))
			s.assertNothingHeld(t, 1)
		})
	}
}

// An operator settles what he believes while the authorization is under way: it comes late, and its money is refunded.
func TestMoneyThatIsHeldAfterASettlementIsRefunded(t *testing.T) {
	for name, c := range map[string]struct {
		ended  bool // whether the order had ended, and its refund got no answer
		settle gateway.Answer
		status string
	}{
		"nothing was held": {true, gateway.Answer{Status: gateway.Nothing}, "VOID"},
		"it was declined":  {false, gateway.Answer{Status: gateway.Declined, Reason: "card_declined"}, "DECLINED"},
	} {
		t.Run(name, func(t *testing.T) {
			h := held{before: true, asked: make(chan struct{}, 1), answer: make(chan struct{})}
			s := openTill(t, gateway.Scenario{}, func(g gateway.Gateway) gateway.Gateway { h.Gateway = g; return h })
			s.refund.UseGateway(silent{})
			begin, end := orderAndEnd(t, 1299)
			authorized := make(chan error, 1)
			go func() { authorized <- s.authorize.Handle(t.Context(), begin) }()
			<-h.asked
			if c.ended {
				require.NoError(t, s.refund.Handle(t.Context(), end))
			}
			require.NoError(t, s.authorize.Transact(t.Context(), func(ctx context.Context, tx *transaction.Tx) ([]event.Event, error) {
				return payment.Settle(ctx, tx, time.Now(), "alice", begin.Subject(), c.settle)
			}))
			require.Equal(t, []string{c.status}, mysqltest.Rows(t, s.db, "SELECT status FROM payments"))

			close(h.answer)
			require.NoError(t, <-authorized)
			require.Equal(t, []string{"REFUND_REQUESTED"}, mysqltest.Rows(t, s.db, "SELECT status FROM payments"))
			if !c.ended {
				require.NoError(t, s.refund.Handle(t.Context(), end), "the order fails since its payment was declined")
			}
			s.refund.UseGateway(s.gateway)
			s.sweep(t)
			assert.Equal(t, []string{"REFUNDED"}, mysqltest.Rows(t, s.db, "SELECT status FROM payments"))
			s.assertNothingHeld(t, 1)
		})
	}
}

// silent is a gateway that gives no answer.
type silent struct{}

var errSilent = errors.New("no answer")

func (silent) Authorize(context.Context, gateway.Authorization) (gateway.Answer, error) {
	return gateway.Answer{}, errSilent
}
func (silent) Refund(context.Context, gateway.Refund) (gateway.Answer, error) {
	return gateway.Answer{}, errSilent
}
func (silent) Lookup(context.Context, string) (gateway.Answer, error) {
	return gateway.Answer{}, errSilent
}

func TestAnOrderThatEndedFirstIsNeverCharged(t *testing.T) {
	s := openTill(t, gateway.Scenario{}, plain)
	begin, end := orderAndEnd(t, 1299)
	require.NoError(t, s.refund.Handle(t.Context(), end))
	require.NoError(t, s.authorize.Handle(t.Context(), begin))
	page, _, err := s.gateway.Ledger(t.Context(), "", 10)
	require.NoError(t, err)
	assert.Empty(t, page)
	s.assertNothingHeld(t, 1)
}

// Orders begin and end at the same time, deliveries are repeated, the gateway loses answers, fails and declines, and ticks
// ask again: in the end nothing is held, and the log explains each amount.
func TestAuthorizationsMeetRefundsAndNothingStaysHeld(t *testing.T) {
	s := openTill(t, gateway.Scenario{Decline: .1, Unknown: .4, Latency: 2 * time.Millisecond, Jitter: 5 * time.Millisecond}, func(g gateway.Gateway) gateway.Gateway {
		return gateway.Guard(g, gateway.Options{Failures: 1 << 20})
	})
	const count = 60
	begins, ends := make([]event.Event, count), make([]event.Event, count)
	for n := range count {
		begins[n], ends[n] = orderAndEnd(t, int64(100*n))
	}
	var all sync.WaitGroup
	for round := range 3 {
		all.Go(func() {
			for _, err := range functiontest.Together(t.Context(), s.authorize, shuffled(begins, round)...) {
				assert.NoError(t, err)
			}
		})
		all.Go(func() {
			for _, err := range functiontest.Together(t.Context(), s.refund, shuffled(ends, round+3)...) {
				assert.NoError(t, err)
			}
		})
	}
	all.Wait()
	for range 5 {
		s.sweep(t)
	}
	s.assertNothingHeld(t, count)
}
