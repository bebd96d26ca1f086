-- ListNotificationsBetween reads the notifications of a range of order ids, without the first and including the last.
-- name: ListNotificationsBetween :many
SELECT order_id, order_version, status
FROM notifications WHERE order_id > sqlc.arg(after_id) AND order_id <= sqlc.arg(last_id) ORDER BY order_id;
