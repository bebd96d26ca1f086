-- GetReservation tells what became of an order's stock.
-- name: GetReservation :one
SELECT status, version, created_at, updated_at FROM reservations WHERE order_id = ?;
