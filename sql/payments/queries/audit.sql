-- ListPaymentsBetween reads the payments of a range of order ids, without the first and including the last.
-- name: ListPaymentsBetween :many
SELECT order_id, status, amount, currency, reference, version, requested_at, created_at, updated_at
FROM payments WHERE order_id > sqlc.arg(after_id) AND order_id <= sqlc.arg(last_id) ORDER BY order_id;

-- ListPaymentsOf reads the payments of some orders.
-- name: ListPaymentsOf :many
SELECT order_id, status, amount, currency, reference, version, requested_at, created_at, updated_at
FROM payments FORCE INDEX (PRIMARY) WHERE order_id IN (sqlc.slice(order_ids)) ORDER BY order_id;

-- ListPaymentLogBetween reads the log of a range of order ids, without the first and including the last.
-- name: ListPaymentLogBetween :many
SELECT order_id, entry, amount, currency
FROM payment_log WHERE order_id > sqlc.arg(after_id) AND order_id <= sqlc.arg(last_id) ORDER BY order_id, id;

-- ListPaymentLogOf reads the log of some orders.
-- name: ListPaymentLogOf :many
SELECT order_id, entry, amount, currency
FROM payment_log FORCE INDEX (payment_log_order) WHERE order_id IN (sqlc.slice(order_ids)) ORDER BY order_id, id;

-- GetPaymentVersion reads how far the payment of an order is; no row if nobody has asked for its money.
-- name: GetPaymentVersion :many
SELECT status, version FROM payments WHERE order_id = ?;
