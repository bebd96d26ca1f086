-- GetReservation reads the reservation of an order.
-- name: GetReservation :one
SELECT status, version, created_at, updated_at FROM reservations WHERE order_id = ?;

-- ListStockBetween pages through the levels of a range of SKUs.
-- name: ListStockBetween :many
SELECT sku, available_qty, reserved_qty, version FROM inventory
WHERE sku >= sqlc.arg(from_sku) AND sku < sqlc.arg(to_sku) ORDER BY sku LIMIT ?;
