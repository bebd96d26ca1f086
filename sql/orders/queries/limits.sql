-- LockCustomers locks the customers whose hashes begin with these two bytes until the transaction ends, and inserts their row
-- if it is missing. LockAllCustomers locks many with one statement, in the order given.
-- name: LockCustomers :exec
INSERT INTO open_order_locks (customers)
VALUES (?)
ON DUPLICATE KEY UPDATE customers = customers;

-- ListOpenOrders lists the open orders of customers, and those that have been open when it was last looked: open is 0 then.
-- name: ListOpenOrders :many
SELECT c.customer, c.order_id, CAST(COALESCE(o.status = 'PENDING', 0) AS SIGNED) AS open
FROM open_orders c FORCE INDEX (PRIMARY) LEFT JOIN orders o ON o.id = c.order_id
WHERE c.customer IN (sqlc.slice(customers));

-- InsertOpenOrder notes a new order of a customer; InsertOpenOrders notes many with one statement.
-- name: InsertOpenOrder :exec
INSERT INTO open_orders (customer, order_id)
VALUES (?, ?)
ON DUPLICATE KEY UPDATE order_id = order_id;

-- DeleteOpenOrders removes orders of customers that are no longer open.
-- name: DeleteOpenOrders :exec
DELETE FROM open_orders WHERE customer IN (sqlc.slice(customers)) AND order_id IN (sqlc.slice(order_ids));

-- ForgetOpenOrders removes what is noted about a customer.
-- name: ForgetOpenOrders :exec
DELETE FROM open_orders WHERE customer = ?;
