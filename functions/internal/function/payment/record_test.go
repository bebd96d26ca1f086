package payment

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/payments"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/transaction"
)

// Two processes ask about one order, as after a lease, and both results are in one batch.
func TestOfAnErrorAndAnAnswerInOneBatchTheAnswerStays(t *testing.T) {
	r := Request{
		OrderID: functiontest.OrderID(), Status: payments.PaymentsStatusREQUESTED, Amount: 5, Currency: "EUR",
		Items: []events.Item{{SKU: "A", Quantity: 1, UnitPrice: 5}}, Cause: events.Cause{CorrelationID: "flow"},
	}
	failed := answered{Request: r, err: errors.New("connection reset")}
	answer := answered{Request: r, answer: gateway.Answer{Status: gateway.Authorized, Reference: "auth_1", Amount: 5, Currency: "EUR"}}
	for name, batch := range map[string][]answered{
		"the error comes first": {failed, answer}, "the answer comes first": {answer, failed}, "both answer": {answer, answer},
	} {
		t.Run(name, func(t *testing.T) {
			db := mysqltest.Open(t, schema.Payments)
			_, err := db.ExecContext(t.Context(), `INSERT INTO payments (order_id, status, amount, currency, attempts, version, items, cause, requested_at, next_attempt_at, created_at, updated_at)
				VALUES (?, 'REQUESTED', 5, 'EUR', 1, 0, '[]', '{}', NOW(6), NOW(6), NOW(6), NOW(6))`, r.OrderID)
			require.NoError(t, err)
			facts := 0
			require.NoError(t, transaction.Run(t.Context(), db, func(ctx context.Context, tx *transaction.Tx) error {
				l := ledger{actor: "authorize-payment", at: time.Now()}
				effects, err := l.record(ctx, tx, batch)
				for _, e := range effects {
					facts += len(e.facts)
				}
				return err
			}))
			assert.Equal(t, 1, facts)
			assert.Equal(t, []string{"AUTHORIZED | auth_1 | 1 | NULL | NULL"}, mysqltest.Rows(t, db, "SELECT status, reference, version, last_error, next_attempt_at FROM payments"))
			assert.Equal(t, 1, mysqltest.Count(t, db, "SELECT COUNT(*) FROM payment_log"))
		})
	}
}
