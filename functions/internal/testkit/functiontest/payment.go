package functiontest

import (
	"database/sql"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/sql/payments"
)

// Reference is the gateway's name of the authorizations of Payment.
const Reference = "auth_1"

// Payment stores the payment of an order as Order has it, 2598 EUR, in the payments schema of db. Its last request is as old as
// age, by the database's clock; an open one is asked about again in an hour. Its authorization is known, as Reference, unless the
// status is REQUESTED, DECLINED or VOID.
func Payment(t testing.TB, db *sql.DB, orderID string, status payments.PaymentsStatus, age time.Duration) {
	t.Helper()
	items := []events.Item{{SKU: "SKU-123", Quantity: 2, UnitPrice: 1299}}
	created := Event(t, events.OrderCreatedV1{OrderID: orderID, CustomerEmail: "alice@example.com", Items: items, TotalAmount: 2598, CreatedAt: time.Now()}, 1)
	var reference, reason *string
	version, attempts, open := 1, 1, false
	switch status {
	case payments.PaymentsStatusREQUESTED:
		version, attempts, open = 0, 3, true
	case payments.PaymentsStatusREFUNDREQUESTED:
		reference, reason, attempts, open = new(Reference), new(events.ReasonFailed), 3, true
	case payments.PaymentsStatusREFUNDED:
		reference, reason, version = new(Reference), new(events.ReasonFailed), 2
	case payments.PaymentsStatusDECLINED:
		reason = new("card_declined")
	case payments.PaymentsStatusAUTHORIZED:
		reference = new(Reference)
	case payments.PaymentsStatusVOID, payments.PaymentsStatusPENDING: // neither has anything else
	}
	_, err := db.ExecContext(t.Context(), `INSERT INTO payments
		(order_id, status, amount, currency, reference, reason, attempts, last_error, version, items, cause, requested_at, next_attempt_at, created_at, updated_at)
		VALUES (?, ?, 2598, 'EUR', ?, ?, ?, IF(?, 'no answer', NULL), ?, ?, ?, NOW(6) - INTERVAL ? MICROSECOND, IF(?, NOW(6) + INTERVAL 1 HOUR, NULL), NOW(6), NOW(6))`,
		orderID, status, reference, reason, attempts, open, version, encoded(t, items), encoded(t, events.CauseOf(created)), age.Microseconds(), open)
	require.NoError(t, err)
}

func encoded(t testing.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	require.NoError(t, err)
	return string(text)
}
