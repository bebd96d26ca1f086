-- OpenReservation inserts the order's row if it is missing, and then affects one row; in any case the row stays locked until
-- the transaction ends. OpenReservations opens many with one statement.
-- name: OpenReservation :execrows
INSERT INTO reservations (order_id, status, version, created_at, updated_at)
VALUES (?, 'PENDING', 0, ?, ?)
ON DUPLICATE KEY UPDATE order_id = order_id;

-- InsertReservation stores the reservation of an order with its first fact; error 1062 means that the order has a row.
-- name: InsertReservation :exec
INSERT INTO reservations (order_id, status, version, created_at, updated_at)
VALUES (?, ?, 1, ?, ?);

-- LockReservation reads the order's row and locks it until the transaction ends.
-- name: LockReservation :one
SELECT order_id, status, version FROM reservations WHERE order_id = ? FOR UPDATE;

-- SetReservation writes the status of an order's reservation, and the number of its facts.
-- name: SetReservation :exec
UPDATE reservations SET status = ?, version = ?, updated_at = ? WHERE order_id = ?;

-- InsertReservationLog logs the effect of an event on one SKU; InsertReservationLogs logs many with one statement.
-- name: InsertReservationLog :exec
INSERT INTO reservation_log (source, event_id, sku, order_id, delta_reserved, status, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?);

-- ListHeld sums what the log holds for an order, in order of SKU.
-- name: ListHeld :many
SELECT sku, CAST(SUM(delta_reserved) AS SIGNED) AS quantity
FROM reservation_log WHERE order_id = ? GROUP BY sku HAVING SUM(delta_reserved) > 0 ORDER BY sku;

-- ListReservations pages through the orders in order of id.
-- name: ListReservations :many
SELECT order_id, status, updated_at FROM reservations WHERE order_id > sqlc.arg(after_order_id) ORDER BY order_id LIMIT ?;

-- DeleteReservationLog deletes the log of an order.
-- name: DeleteReservationLog :execrows
DELETE FROM reservation_log WHERE order_id = ?;

-- LockReservations reads the rows of several orders and locks them until the transaction ends.
-- name: LockReservations :many
SELECT order_id, status FROM reservations FORCE INDEX (PRIMARY) WHERE order_id IN (sqlc.slice(order_ids)) ORDER BY order_id FOR UPDATE;

-- SetFirstReservations writes the status of the reservations of several orders, each with its first fact.
-- name: SetFirstReservations :exec
UPDATE reservations FORCE INDEX (PRIMARY) SET status = sqlc.arg(status), version = 1, updated_at = sqlc.arg(updated_at)
WHERE order_id IN (sqlc.slice(order_ids));
