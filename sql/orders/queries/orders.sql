-- InsertOrder stores a new order; error 1062 means that its idempotency key was used before.
-- name: InsertOrder :exec
INSERT INTO orders (id, customer_email, status, total_amount, currency, version, idempotency_key_hash, request_hash, correlation_id, created_at, updated_at, owner)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- InsertItem stores one line of an order; InsertItems stores many with one statement.
-- name: InsertItem :exec
INSERT INTO order_items (order_id, sku, unit_price, quantity)
VALUES (?, ?, ?, ?);

-- GetOrderByKey finds the order of an idempotency key.
-- name: GetOrderByKey :one
SELECT id, request_hash, created_at FROM orders WHERE idempotency_key_hash = ?;

-- ListOrdersByKeys finds the orders of idempotency keys.
-- name: ListOrdersByKeys :many
SELECT idempotency_key_hash, id, request_hash, created_at FROM orders WHERE idempotency_key_hash IN (sqlc.slice(key_hashes));

-- GetOrder reads an order as customers see it.
-- name: GetOrder :one
SELECT id, customer_email, status, total_amount, currency, version, failure_reason, created_at, updated_at
FROM orders WHERE id = ?;

-- GetOwner reads who owns an order; NULL means nobody.
-- name: GetOwner :one
SELECT owner FROM orders WHERE id = ?;

-- ListItems reads the lines of orders, in the order of the request.
-- name: ListItems :many
SELECT order_id, sku, unit_price, quantity
FROM order_items WHERE order_id IN (sqlc.slice(order_ids)) ORDER BY order_id, id;

-- ListOrders pages through all orders, newest first; ids sort by time.
-- name: ListOrders :many
SELECT id, customer_email, status, total_amount, currency, version, failure_reason, created_at, updated_at
FROM orders WHERE id < sqlc.arg(before_id) ORDER BY id DESC LIMIT ?;

-- ListOrdersByStatus pages through the orders of one status, newest first. The index is forced since MariaDB would scan to
-- each page from the newest order on.
-- name: ListOrdersByStatus :many
SELECT id, customer_email, status, total_amount, currency, version, failure_reason, created_at, updated_at
FROM orders FORCE INDEX (orders_status) WHERE status = sqlc.arg(status) AND id < sqlc.arg(before_id) ORDER BY id DESC LIMIT ?;

-- ListOwnedOrders pages through the orders of an owner, newest first.
-- name: ListOwnedOrders :many
SELECT id, customer_email, status, total_amount, currency, version, failure_reason, created_at, updated_at
FROM orders FORCE INDEX (orders_owner) WHERE owner = sqlc.arg(owner) AND id < sqlc.arg(before_id) ORDER BY id DESC LIMIT ?;

-- ListOwnedOrdersByStatus pages through the orders of an owner that have one status, newest first.
-- name: ListOwnedOrdersByStatus :many
SELECT id, customer_email, status, total_amount, currency, version, failure_reason, created_at, updated_at
FROM orders FORCE INDEX (orders_owner)
WHERE owner = sqlc.arg(owner) AND status = sqlc.arg(status) AND id < sqlc.arg(before_id) ORDER BY id DESC LIMIT ?;

-- ListPendingBefore lists the oldest pending orders with an id below a bound; ids sort by time.
-- name: ListPendingBefore :many
SELECT id FROM orders WHERE status = 'PENDING' AND id < ? ORDER BY id LIMIT ?;

-- ListPendingFrom lists the pending orders from an id on, newest first, from the index of the statuses alone; ids sort by time.
-- name: ListPendingFrom :many
SELECT id FROM orders FORCE INDEX (orders_status) WHERE status = 'PENDING' AND id >= sqlc.arg(from_id) ORDER BY id DESC LIMIT ?;

-- LockOrders reads what a change of status needs, and locks the orders' rows, in order of id, until the transaction ends.
-- name: LockOrders :many
SELECT id, customer_email, status, total_amount, version, correlation_id, failure_reason
FROM orders FORCE INDEX (PRIMARY) WHERE id IN (sqlc.slice(ids)) ORDER BY id FOR UPDATE;

-- SetStatuses changes the status of locked orders, each with one fact.
-- name: SetStatuses :exec
UPDATE orders FORCE INDEX (PRIMARY)
SET status = sqlc.arg(status), failure_reason = sqlc.narg(failure_reason), version = version + 1, updated_at = sqlc.arg(updated_at)
WHERE id IN (sqlc.slice(ids));

-- SetStatusFrom is SetStatuses for an order whose row is not locked; it changes the row of one version only.
-- name: SetStatusFrom :exec
UPDATE orders FORCE INDEX (PRIMARY)
SET status = sqlc.arg(status), failure_reason = sqlc.narg(failure_reason), version = version + 1, updated_at = sqlc.arg(updated_at)
WHERE id = sqlc.arg(id) AND version = sqlc.arg(version);
