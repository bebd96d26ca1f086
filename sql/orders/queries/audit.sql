-- WalkOrders pages through all orders in order of id.
-- name: WalkOrders :many
SELECT id, status, total_amount, version, created_at, updated_at
FROM orders WHERE id > sqlc.arg(after_id) ORDER BY id LIMIT ?;

-- WalkOrdersOf reads some orders by their ids, in this order.
-- name: WalkOrdersOf :many
SELECT id, status, total_amount, version, created_at, updated_at
FROM orders FORCE INDEX (PRIMARY) WHERE id IN (sqlc.slice(ids)) ORDER BY id;

-- ListItemsBetween reads the lines of a range of order ids, without the first and including the last.
-- name: ListItemsBetween :many
SELECT order_id, sku, unit_price, quantity
FROM order_items WHERE order_id > sqlc.arg(after_id) AND order_id <= sqlc.arg(last_id) ORDER BY order_id, id;

-- ListKeysUsedTwice finds idempotency keys with more than one order.
-- name: ListKeysUsedTwice :many
SELECT idempotency_key_hash, COUNT(*) AS orders_made
FROM orders WHERE idempotency_key_hash IS NOT NULL
GROUP BY idempotency_key_hash HAVING COUNT(*) > 1 LIMIT ?;

-- GetOrderVersion reads how far an order is; no row if it was never accepted.
-- name: GetOrderVersion :many
SELECT status, version FROM orders WHERE id = ?;
