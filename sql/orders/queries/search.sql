-- Searches by a whole address, a flow or a SKU have an index each. A part of an address and the end of an order's id have none:
-- they are looked for slice by slice, newest first.

-- FindOrdersOfCustomer pages through the orders of a customer's whole address, newest first, whatever its case.
-- name: FindOrdersOfCustomer :many
SELECT id, customer_email, status, total_amount, currency, version, failure_reason, created_at, updated_at
FROM orders FORCE INDEX (orders_customer)
WHERE customer_email = sqlc.arg(customer_email) AND id < sqlc.arg(before_id) ORDER BY id DESC LIMIT ?;

-- FindOrdersOfFlow pages through the orders of a flow, newest first.
-- name: FindOrdersOfFlow :many
SELECT id, customer_email, status, total_amount, currency, version, failure_reason, created_at, updated_at
FROM orders FORCE INDEX (orders_flow)
WHERE correlation_id = sqlc.arg(flow) AND id < sqlc.arg(before_id) ORDER BY id DESC LIMIT ?;

-- SkipOrders returns the id of the order that is a number of orders older than a bound.
-- name: SkipOrders :one
SELECT id FROM orders WHERE id < sqlc.arg(before_id) ORDER BY id DESC LIMIT 1 OFFSET ?;

-- FindOrders looks through a range of ids for a part of a customer's address, or the end of an order id.
-- name: FindOrders :many
SELECT id, customer_email, status, total_amount, currency, version, failure_reason, created_at, updated_at
FROM orders FORCE INDEX (PRIMARY)
WHERE id >= sqlc.arg(from_id) AND id < sqlc.arg(before_id)
  AND (customer_email LIKE sqlc.arg(customer) OR id LIKE sqlc.arg(ending))
ORDER BY id DESC LIMIT ?;

-- FindLines pages through the lines with a SKU, newest first.
-- name: FindLines :many
SELECT id, order_id FROM order_items FORCE INDEX (order_items_sku)
WHERE sku = sqlc.arg(sku) AND id < sqlc.arg(before_id) ORDER BY id DESC LIMIT ?;

-- ListOrdersOf reads orders by their ids, newest first.
-- name: ListOrdersOf :many
SELECT id, customer_email, status, total_amount, currency, version, failure_reason, created_at, updated_at
FROM orders WHERE id IN (sqlc.slice(ids)) ORDER BY id DESC;
