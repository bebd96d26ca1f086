-- TallyStatuses counts the orders of each status that there is, by the index of the statuses alone.
-- name: TallyStatuses :many
SELECT status, COUNT(*) AS orders FROM orders GROUP BY status;

-- OldestPending returns the age in microseconds of the oldest order that is pending, 0 when there is none.
-- name: OldestPending :one
SELECT CAST(COALESCE(TIMESTAMPDIFF(MICROSECOND,
  (SELECT o.created_at FROM orders o WHERE o.status = 'PENDING' ORDER BY o.id LIMIT 1), NOW(6)), 0) AS SIGNED) AS age_micros;
