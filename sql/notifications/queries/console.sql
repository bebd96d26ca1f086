-- ListNotificationsOf lists the notifications of an order.
-- name: ListNotificationsOf :many
SELECT source, event_id, order_version, type, status, attempts, created_at, sent_at
FROM notifications WHERE order_id = ? ORDER BY order_version LIMIT 100;
