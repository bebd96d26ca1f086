package functions_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/functions/internal/function/payment"
	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/transaction"
)

// settle has an operator settle an order's payment.
func (s till) settle(t *testing.T, orderID string, answer gateway.Answer) error {
	t.Helper()
	_, err := outbox.Store{DB: s.db, Now: time.Now}.Transact(t.Context(), func(ctx context.Context, tx *transaction.Tx) ([]event.Event, error) {
		return payment.Settle(ctx, tx, time.Now(), "operator: alice", orderID, answer)
	})
	return err
}

// An operator says that an authorization was declined, while its request is still under way.
func TestMoneyThatIsHeldAfterAnOperatorHasCalledItDeclinedIsRefunded(t *testing.T) {
	for name, before := range map[string]bool{"the gateway has it": false, "the gateway gets it later": true} {
		t.Run(name, func(t *testing.T) {
			h := held{before: before, asked: make(chan struct{}, 1), answer: make(chan struct{})}
			s := openTill(t, gateway.Scenario{}, func(g gateway.Gateway) gateway.Gateway { h.Gateway = g; return h })
			begin, end := orderAndEnd(t, 1299)
			authorized := make(chan error, 1)
			go func() { authorized <- s.authorize.Handle(t.Context(), begin) }()
			<-h.asked

			require.NoError(t, s.settle(t, begin.Subject(), gateway.Answer{Status: gateway.Declined, Reason: "card_declined"}))
			require.ErrorIs(t, s.settle(t, begin.Subject(), gateway.Answer{Status: gateway.Declined, Reason: "card_declined"}), payment.ErrNotOpen)
			require.NoError(t, s.refund.Handle(t.Context(), end))
			close(h.answer)
			require.NoError(t, <-authorized)

			assert.Equal(t, 1, mysqltest.Count(t, s.db, "SELECT COUNT(*) FROM outbox WHERE type = 'payment.declined'"))
			assert.Equal(t, 0, mysqltest.Count(t, s.db, "SELECT COUNT(*) FROM outbox WHERE type = 'payment.authorized'"))
			assert.Equal(t, 1, mysqltest.Count(t, s.db, "SELECT COUNT(*) FROM payment_log WHERE entry = 'DECLINED' AND actor = 'operator: alice'"))
			s.assertNothingHeld(t, 1)
		})
	}
}

func TestWhatTheGatewayHasDeclinedItIsNotAskedToRefund(t *testing.T) {
	h := held{asked: make(chan struct{}, 1), answer: make(chan struct{})}
	close(h.answer)
	s := openTill(t, gateway.Scenario{}, func(g gateway.Gateway) gateway.Gateway { h.Gateway = g; return h })
	begin, end := orderAndEnd(t, 1201)
	require.NoError(t, s.authorize.Handle(t.Context(), begin))
	require.NoError(t, s.refund.Handle(t.Context(), end))
	_, err := s.gateway.Lookup(t.Context(), gateway.RefundKey(begin.Subject()))
	require.ErrorIs(t, err, gateway.ErrUnknownKey)
	s.assertNothingHeld(t, 1)
}

// generous is a gateway that returns money which it has never held.
type generous struct{ gateway.Gateway }

func (generous) Refund(_ context.Context, r gateway.Refund) (gateway.Answer, error) {
	return gateway.Answer{Status: gateway.Refunded, Reference: "ref_1", Amount: r.Amount, Currency: r.Currency}, nil
}

func (generous) Lookup(_ context.Context, key string) (gateway.Answer, error) {
	if strings.HasSuffix(key, ".refund") {
		return gateway.Answer{}, gateway.ErrUnknownKey
	}
	return gateway.Answer{Status: gateway.Closed, Currency: "EUR"}, nil
}

func TestARefundOfWhatTheGatewayHasNotHeldIsNotBelieved(t *testing.T) {
	s := openTill(t, gateway.Scenario{}, plain)
	s.refund.Gateway = generous{s.gateway}
	begin, end := orderAndEnd(t, 1299)
	_, err := s.db.ExecContext(t.Context(), `INSERT INTO payments (order_id, status, amount, currency, attempts, version, items, cause, requested_at, next_attempt_at, created_at, updated_at)
		VALUES (?, 'REQUESTED', 1299, 'EUR', 1, 0, '[]', '{}', NOW(6), NOW(6), NOW(6), NOW(6))`, begin.Subject())
	require.NoError(t, err)

	require.NoError(t, s.refund.Handle(t.Context(), end))

	assert.Contains(t, mysqltest.Rows(t, s.db, "SELECT status, last_error FROM payments")[0], "REFUND_REQUESTED | the gateway has refunded an authorization that it does not know")
	assert.Zero(t, mysqltest.Count(t, s.db, "SELECT COUNT(*) FROM payment_log"))
}
