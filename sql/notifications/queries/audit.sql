-- ListNotificationsBetween reads what the customers of the orders of a range of ids were told, without the first and with
-- the last.
-- name: ListNotificationsBetween :many
SELECT order_id, order_version, type, status
FROM notifications WHERE order_id > sqlc.arg(after_id) AND order_id <= sqlc.arg(last_id) ORDER BY order_id;
