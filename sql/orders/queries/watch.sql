-- TallyStatuses counts the orders of each existing status, from the index of the statuses alone.
-- name: TallyStatuses :many
SELECT status, COUNT(*) AS orders FROM orders GROUP BY status;

-- OldestPending returns the age in microseconds of the oldest pending order, 0 without one.
-- name: OldestPending :one
SELECT CAST(COALESCE(MAX(TIMESTAMPDIFF(MICROSECOND, p.created_at, NOW(6))), 0) AS SIGNED) AS age_micros
FROM (SELECT o.created_at FROM orders o FORCE INDEX (orders_status) WHERE o.status = 'PENDING' ORDER BY o.id LIMIT 1) p;
