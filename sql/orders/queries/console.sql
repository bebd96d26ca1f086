-- GetFlow tells which flow an order belongs to.
-- name: GetFlow :one
SELECT correlation_id FROM orders WHERE id = ?;

-- CountByStatus counts the orders of each status.
-- name: CountByStatus :many
SELECT status, COUNT(*) AS orders FROM orders GROUP BY status;
