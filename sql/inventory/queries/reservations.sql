-- OpenReservation makes sure that the order has its row, and affects one row when it had none; either way the
-- row stays locked until the transaction ends. OpenReservations opens many by one statement.
-- name: OpenReservation :execrows
INSERT INTO reservations (order_id, status, version, created_at, updated_at)
VALUES (?, 'PENDING', 0, ?, ?)
ON DUPLICATE KEY UPDATE order_id = order_id;

-- LockReservation reads the order's row and keeps it until the transaction ends.
-- name: LockReservation :one
SELECT order_id, status, version FROM reservations WHERE order_id = ? FOR UPDATE;

-- SetReservation writes what became of the order's stock, and how many facts of it there are now.
-- name: SetReservation :exec
UPDATE reservations SET status = ?, version = ?, updated_at = ? WHERE order_id = ?;

-- InsertReservationLog records what an event did to one SKU; InsertReservationLogs records many by one statement.
-- name: InsertReservationLog :exec
INSERT INTO reservation_log (source, event_id, sku, order_id, delta_reserved, status, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?);

-- ListHeld sums up what the log holds for an order, by SKU in order.
-- name: ListHeld :many
SELECT sku, CAST(SUM(delta_reserved) AS SIGNED) AS quantity
FROM reservation_log WHERE order_id = ? GROUP BY sku HAVING SUM(delta_reserved) > 0 ORDER BY sku;

-- ListReservations walks through the orders in the order of their ids.
-- name: ListReservations :many
SELECT order_id, status, updated_at FROM reservations WHERE order_id > sqlc.arg(after_order_id) ORDER BY order_id LIMIT ?;

-- DeleteReservationLog forgets the log of an order.
-- name: DeleteReservationLog :execrows
DELETE FROM reservation_log WHERE order_id = ?;

-- LockReservations reads the rows of several orders, and keeps them until the transaction ends.
-- name: LockReservations :many
SELECT order_id, status FROM reservations FORCE INDEX (PRIMARY) WHERE order_id IN (sqlc.slice(order_ids)) ORDER BY order_id FOR UPDATE;

-- SetFirstReservations writes what became of the stock of several orders that have one fact each now.
-- name: SetFirstReservations :exec
UPDATE reservations FORCE INDEX (PRIMARY) SET status = sqlc.arg(status), version = 1, updated_at = sqlc.arg(updated_at)
WHERE order_id IN (sqlc.slice(order_ids));
