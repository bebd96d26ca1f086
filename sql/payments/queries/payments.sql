-- OpenPayment inserts the order's row if it is missing; in any case the row stays locked until the transaction ends.
-- OpenPayments opens many with one statement. A row with the status PENDING is new in this transaction.
-- name: OpenPayment :exec
INSERT INTO payments (order_id, status, amount, currency, attempts, version, items, cause, requested_at, created_at, updated_at)
VALUES (?, 'PENDING', ?, ?, 0, 0, ?, ?, NOW(6), ?, ?)
ON DUPLICATE KEY UPDATE order_id = order_id;

-- LockPayments reads the rows of several orders, in order of id, and locks them until the transaction ends.
-- name: LockPayments :many
SELECT order_id, status, amount, currency, reference, reason, attempts, settled, version, items, cause
FROM payments FORCE INDEX (PRIMARY) WHERE order_id IN (sqlc.slice(order_ids)) ORDER BY order_id FOR UPDATE;

-- RequestAuthorizations makes new rows requests to authorize. No sweep asks about them before the lease, in microseconds,
-- has ended.
-- name: RequestAuthorizations :exec
UPDATE payments FORCE INDEX (PRIMARY)
SET status = 'REQUESTED', attempts = 1, next_attempt_at = NOW(6) + INTERVAL CAST(sqlc.arg(lease_micros) AS SIGNED) MICROSECOND
WHERE order_id IN (sqlc.slice(order_ids));

-- RequestRefund makes a row a request to refund, as RequestAuthorizations does for authorizations.
-- name: RequestRefund :exec
UPDATE payments SET status = 'REFUND_REQUESTED', reason = sqlc.arg(reason), cause = sqlc.arg(cause), attempts = 1, last_error = NULL,
  requested_at = NOW(6), next_attempt_at = NOW(6) + INTERVAL CAST(sqlc.arg(lease_micros) AS SIGNED) MICROSECOND, updated_at = sqlc.arg(updated_at)
WHERE order_id = sqlc.arg(order_id);

-- ListDueRequests lists requests of one status whose next attempt is due, longest due first, and locks them; it skips those
-- that another sweep has locked.
-- name: ListDueRequests :many
SELECT order_id, status, amount, currency, reference, reason, attempts, settled, version, items, cause
FROM payments FORCE INDEX (payments_due)
WHERE status = ? AND next_attempt_at <= NOW(6)
ORDER BY next_attempt_at LIMIT ? FOR UPDATE SKIP LOCKED;

-- LeaseRequests gives locked requests another attempt, and a new lease.
-- name: LeaseRequests :exec
UPDATE payments FORCE INDEX (PRIMARY)
SET attempts = attempts + 1, next_attempt_at = NOW(6) + INTERVAL CAST(sqlc.arg(lease_micros) AS SIGNED) MICROSECOND
WHERE order_id IN (sqlc.slice(order_ids));

-- PostponeRequest sets the wait before the next attempt, in microseconds, and why the last one gave no answer.
-- PostponeRequests postpones many with one statement. The rows exist and are locked.
-- name: PostponeRequest :exec
INSERT INTO payments (order_id, status, amount, currency, attempts, version, items, cause, requested_at, created_at, updated_at, last_error, next_attempt_at)
VALUES (?, 'PENDING', 0, '', 0, 0, '', '', NOW(6), NOW(6), NOW(6), ?, NOW(6) + INTERVAL CAST(sqlc.arg(wait_micros) AS SIGNED) MICROSECOND)
ON DUPLICATE KEY UPDATE last_error = VALUES(last_error), next_attempt_at = VALUES(next_attempt_at);

-- EndRequest records the outcome of a request whose row is locked; EndRequests records many with one statement.
-- name: EndRequest :exec
INSERT INTO payments (order_id, status, reference, reason, version, settled, updated_at, amount, currency, attempts, items, cause, requested_at, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?, 0, '', 0, '', '', NOW(6), NOW(6))
ON DUPLICATE KEY UPDATE status = VALUES(status), reference = VALUES(reference), reason = VALUES(reason), version = VALUES(version),
  settled = VALUES(settled), updated_at = VALUES(updated_at), last_error = NULL, next_attempt_at = NULL;

-- InsertPaymentLog logs a change of the money that is held for an order; InsertPaymentLogs logs many with one statement.
-- name: InsertPaymentLog :exec
INSERT INTO payment_log (order_id, entry, amount, currency, reference, reason, actor, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?);
