-- Searches read the tables slice by slice, newest first, since an index by customer, flow or SKU would be paid for by every
-- order: two of them more than double the time of an insert.

-- SkipOrders returns the id of the order that is a number of orders older than a bound.
-- name: SkipOrders :one
SELECT id FROM orders WHERE id < sqlc.arg(before_id) ORDER BY id DESC LIMIT 1 OFFSET ?;

-- FindOrders looks through a range of ids for a part of a customer's address, a flow, or the end of an order id.
-- name: FindOrders :many
SELECT id, customer_email, status, total_amount, currency, version, failure_reason, created_at, updated_at
FROM orders FORCE INDEX (PRIMARY)
WHERE id >= sqlc.arg(from_id) AND id < sqlc.arg(before_id)
  AND (customer_email LIKE sqlc.arg(customer) OR correlation_id = sqlc.arg(flow) OR id LIKE sqlc.arg(ending))
ORDER BY id DESC LIMIT ?;

-- LastLine returns the highest id of the lines of orders.
-- name: LastLine :one
SELECT id FROM order_items ORDER BY id DESC LIMIT 1;

-- FindLines looks through a range of lines for a SKU.
-- name: FindLines :many
SELECT id, order_id FROM order_items FORCE INDEX (PRIMARY)
WHERE id >= sqlc.arg(from_id) AND id < sqlc.arg(before_id) AND sku = sqlc.arg(sku)
ORDER BY id DESC LIMIT ?;

-- ListOrdersOf reads orders by their ids, newest first.
-- name: ListOrdersOf :many
SELECT id, customer_email, status, total_amount, currency, version, failure_reason, created_at, updated_at
FROM orders WHERE id IN (sqlc.slice(ids)) ORDER BY id DESC;
