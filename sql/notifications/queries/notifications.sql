-- OpenConversation inserts the order's row if it is missing; the row stays locked until the transaction ends.
-- OpenConversations opens many with one statement.
-- name: OpenConversation :exec
INSERT INTO conversations (order_id, version)
VALUES (?, 0)
ON DUPLICATE KEY UPDATE order_id = order_id;

-- LockConversations reads the newest version of each order that its customer knows, and whether a delivery is notifying the
-- customer now. It locks the rows in order of id.
-- name: LockConversations :many
SELECT order_id, version, claim, CAST(claimed_until IS NOT NULL AND claimed_until > NOW(6) AS SIGNED) AS busy
FROM conversations FORCE INDEX (PRIMARY) WHERE order_id IN (sqlc.slice(order_ids)) ORDER BY order_id FOR UPDATE;

-- ListNotifications reads the state of the notifications about some orders, a few per order.
-- name: ListNotifications :many
SELECT order_id, source, event_id, order_version, status
FROM notifications FORCE INDEX (notifications_order) WHERE order_id IN (sqlc.slice(order_ids));

-- UpsertNotification claims an event's notification, or marks it as suppressed, and counts the attempt. UpsertNotifications
-- does so for many with one statement.
-- name: UpsertNotification :exec
INSERT INTO notifications (source, event_id, order_id, order_version, type, customer_email, status, attempts, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?, 1, ?)
ON DUPLICATE KEY UPDATE status = VALUES(status), attempts = attempts + 1;

-- ClaimConversations claims some orders for a delivery that notifies their customers, for a number of microseconds on the
-- database's clock.
-- name: ClaimConversations :exec
UPDATE conversations FORCE INDEX (PRIMARY)
SET claim = sqlc.arg(claim), claimed_until = TIMESTAMPADD(MICROSECOND, sqlc.arg(lease_micros), NOW(6))
WHERE order_id IN (sqlc.slice(order_ids));

-- EndConversations releases a claim and stores the version of the orders that their customers now know. It changes no row
-- whose claim was lost.
-- name: EndConversations :exec
UPDATE conversations FORCE INDEX (PRIMARY) SET version = sqlc.arg(version), claim = NULL, claimed_until = NULL
WHERE order_id IN (sqlc.slice(order_ids)) AND claim = sqlc.arg(claim);

-- ReleaseConversations releases a claim after failed sends.
-- name: ReleaseConversations :exec
UPDATE conversations FORCE INDEX (PRIMARY) SET claim = NULL, claimed_until = NULL
WHERE order_id IN (sqlc.slice(order_ids)) AND claim = sqlc.arg(claim);

-- MarkNotificationsSent marks the notifications of some events as sent.
-- name: MarkNotificationsSent :exec
UPDATE notifications FORCE INDEX (PRIMARY) SET status = 'SENT', sent_at = sqlc.arg(sent_at)
WHERE event_id IN (sqlc.slice(event_ids)) AND source = sqlc.arg(source);

-- DeleteNotificationsBefore deletes a bounded number of notifications from before a time. The ids of their events begin with
-- the orders' ids, which sort by time: those from below a bound are the oldest.
-- name: DeleteNotificationsBefore :execrows
DELETE FROM notifications WHERE event_id < sqlc.arg(before_id) AND created_at < sqlc.arg(created_before) ORDER BY event_id LIMIT ?;
