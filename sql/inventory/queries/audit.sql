-- WalkStockLog pages through the changes of the stocked levels in order of id.
-- name: WalkStockLog :many
SELECT id, sku, delta FROM stock_log WHERE id > ? ORDER BY id LIMIT ?;

-- ListReservationsBetween reads the reservations of a range of order ids, without the first and including the last.
-- name: ListReservationsBetween :many
SELECT order_id, version, created_at, updated_at
FROM reservations WHERE order_id > sqlc.arg(after_id) AND order_id <= sqlc.arg(last_id) ORDER BY order_id;

-- ListReservationsOf reads the reservations of some orders.
-- name: ListReservationsOf :many
SELECT order_id, version, created_at, updated_at
FROM reservations FORCE INDEX (PRIMARY) WHERE order_id IN (sqlc.slice(order_ids)) ORDER BY order_id;

-- ListReservationLogBetween reads the log of a range of order ids, without the first and including the last.
-- name: ListReservationLogBetween :many
SELECT order_id, sku, delta_reserved, status
FROM reservation_log WHERE order_id > sqlc.arg(after_id) AND order_id <= sqlc.arg(last_id) ORDER BY order_id;

-- ListReservationLogOf reads the log of some orders.
-- name: ListReservationLogOf :many
SELECT order_id, sku, delta_reserved, status
FROM reservation_log FORCE INDEX (reservation_log_order) WHERE order_id IN (sqlc.slice(order_ids)) ORDER BY order_id;

-- GetReservationVersion reads how far the reservation of an order is; no row if nobody has asked for its stock.
-- name: GetReservationVersion :many
SELECT version FROM reservations WHERE order_id = ?;
