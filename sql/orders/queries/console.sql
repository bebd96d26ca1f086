-- GetFlow returns the correlation id of an order's flow.
-- name: GetFlow :one
SELECT correlation_id FROM orders WHERE id = ?;
