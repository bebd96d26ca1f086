-- GetReservation reads the reservation of an order.
-- name: GetReservation :one
SELECT status, version, created_at, updated_at FROM reservations WHERE order_id = ?;
