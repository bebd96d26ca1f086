-- TallyPayments counts the payments of each existing status, from the index of the requests alone.
-- name: TallyPayments :many
SELECT status, COUNT(*) AS payments FROM payments FORCE INDEX (payments_requested) GROUP BY status;

-- CountPayments counts the payments of a status, up to a limit.
-- name: CountPayments :one
SELECT COUNT(*) FROM (
  SELECT p.order_id FROM payments p FORCE INDEX (payments_requested) WHERE p.status = ? LIMIT ?
) n;

-- OldestPayment returns the time in microseconds since the oldest request of the payments of a status, 0 without one.
-- name: OldestPayment :one
SELECT CAST(COALESCE(MAX(TIMESTAMPDIFF(MICROSECOND, r.requested_at, NOW(6))), 0) AS SIGNED) AS age_micros
FROM (SELECT p.requested_at FROM payments p FORCE INDEX (payments_requested) WHERE p.status = ? ORDER BY p.requested_at LIMIT 1) r;
