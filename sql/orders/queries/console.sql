-- GetFlow tells which flow an order belongs to.
-- name: GetFlow :one
SELECT correlation_id FROM orders WHERE id = ?;
