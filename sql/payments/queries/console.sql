-- GetPayment reads the payment of an order.
-- name: GetPayment :one
SELECT order_id, status, amount, currency, reference, reason, attempts, last_error, requested_at, next_attempt_at, created_at, updated_at
FROM payments WHERE order_id = ?;

-- ListPaymentLog lists the log of an order's payment, oldest first.
-- name: ListPaymentLog :many
SELECT id, order_id, entry, amount, currency, reference, reason, actor, created_at
FROM payment_log WHERE order_id = ? ORDER BY id LIMIT ?;

-- ListOldestPayments lists the payments of a status by the time of their request, the oldest first, from a time and an order
-- on, both excluded together.
-- name: ListOldestPayments :many
SELECT order_id, status, amount, currency, reference, reason, attempts, last_error, requested_at, next_attempt_at, created_at, updated_at
FROM payments FORCE INDEX (payments_requested)
WHERE status = sqlc.arg(status) AND requested_at >= sqlc.arg(after_time)
  AND (requested_at > sqlc.arg(after_time) OR order_id > sqlc.arg(after_id))
ORDER BY requested_at, order_id LIMIT ?;

-- ListNewestPayments lists the payments of a status by the time of their request, the newest first, before a time and an
-- order, both excluded together.
-- name: ListNewestPayments :many
SELECT order_id, status, amount, currency, reference, reason, attempts, last_error, requested_at, next_attempt_at, created_at, updated_at
FROM payments FORCE INDEX (payments_requested)
WHERE status = sqlc.arg(status) AND requested_at <= sqlc.arg(before_time)
  AND (requested_at < sqlc.arg(before_time) OR order_id < sqlc.arg(before_id))
ORDER BY requested_at DESC, order_id DESC LIMIT ?;

-- RetryPayment makes the open request of an order due now. It affects no row if the order has none.
-- name: RetryPayment :execrows
UPDATE payments SET next_attempt_at = NOW(6) WHERE order_id = ? AND status IN ('REQUESTED', 'REFUND_REQUESTED');

-- RetryPayments makes open requests of a status due now, up to a limit. It affects no row if all of them are due. It has no
-- order: MariaDB would sort all of them.
-- name: RetryPayments :execrows
UPDATE payments FORCE INDEX (payments_due) SET next_attempt_at = NOW(6)
WHERE status = ? AND next_attempt_at > NOW(6) LIMIT ?;
