-- OpenConversation makes sure that the order has its row; the row stays locked until the transaction ends.
-- OpenConversations makes sure of many rows by one statement.
-- name: OpenConversation :exec
INSERT INTO conversations (order_id, version)
VALUES (?, 0)
ON DUPLICATE KEY UPDATE order_id = order_id;

-- LockConversation reads the newest version that the customer knows of, and whether somebody is telling right now.
-- name: LockConversation :one
SELECT version, claim, CAST(claimed_until IS NOT NULL AND claimed_until > NOW(6) AS SIGNED) AS busy
FROM conversations WHERE order_id = ? FOR UPDATE;

-- ClaimConversation marks that somebody is telling, for so many microseconds of the database's clock.
-- name: ClaimConversation :exec
UPDATE conversations
SET claim = sqlc.arg(claim), claimed_until = TIMESTAMPADD(MICROSECOND, sqlc.arg(lease_micros), NOW(6))
WHERE order_id = sqlc.arg(order_id);

-- EndConversation gives the claim back and keeps the version that the customer now knows of; it affects no row when
-- the claim was lost.
-- name: EndConversation :execrows
UPDATE conversations SET version = sqlc.arg(version), claim = NULL, claimed_until = NULL
WHERE order_id = sqlc.arg(order_id) AND claim = sqlc.arg(claim);

-- ReleaseConversation gives the claim back after a send that failed.
-- name: ReleaseConversation :execrows
UPDATE conversations SET claim = NULL, claimed_until = NULL
WHERE order_id = sqlc.arg(order_id) AND claim = sqlc.arg(claim);

-- GetNotificationStatus tells what became of an event's notification.
-- name: GetNotificationStatus :one
SELECT status FROM notifications WHERE event_id = ? AND source = ?;

-- UpsertNotification claims an event's notification, or marks it as suppressed, and counts the attempt.
-- name: UpsertNotification :exec
INSERT INTO notifications (source, event_id, order_id, order_version, type, customer_email, status, attempts, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?, 1, ?)
ON DUPLICATE KEY UPDATE status = VALUES(status), attempts = attempts + 1;

-- MarkNotificationSent records that the customer was told.
-- name: MarkNotificationSent :exec
UPDATE notifications SET status = 'SENT', sent_at = ? WHERE event_id = ? AND source = ?;

-- LockConversations is LockConversation for several orders, whose rows are taken in the order of their ids.
-- name: LockConversations :many
SELECT order_id, version, claim, CAST(claimed_until IS NOT NULL AND claimed_until > NOW(6) AS SIGNED) AS busy
FROM conversations FORCE INDEX (PRIMARY) WHERE order_id IN (sqlc.slice(order_ids)) ORDER BY order_id FOR UPDATE;

-- ClaimConversations is ClaimConversation for several orders.
-- name: ClaimConversations :exec
UPDATE conversations FORCE INDEX (PRIMARY)
SET claim = sqlc.arg(claim), claimed_until = TIMESTAMPADD(MICROSECOND, sqlc.arg(lease_micros), NOW(6))
WHERE order_id IN (sqlc.slice(order_ids));

-- EndConversations is EndConversation for several orders of which the customers now know the same version.
-- name: EndConversations :exec
UPDATE conversations FORCE INDEX (PRIMARY) SET version = sqlc.arg(version), claim = NULL, claimed_until = NULL
WHERE order_id IN (sqlc.slice(order_ids)) AND claim = sqlc.arg(claim);

-- NewestClaimed is the newest version of an order that somebody has begun to tell its customer and has not marked; 0
-- when there is none. Whoever began may have died after the mail.
-- name: NewestClaimed :one
SELECT CAST(COALESCE(MAX(order_version), 0) AS SIGNED) AS version FROM notifications WHERE order_id = ? AND status = 'CLAIMED';

-- CountNotifications tells how many notifications of some events there are already, and how many about some orders that
-- were begun and not marked.
-- name: CountNotifications :one
SELECT COUNT(*) FROM notifications
WHERE order_id IN (sqlc.slice(order_ids)) AND (status = 'CLAIMED' OR event_id IN (sqlc.slice(event_ids)) AND source = sqlc.arg(source));

-- InsertNotification claims the notification of an event that has none; InsertNotifications claims many by one statement.
-- name: InsertNotification :exec
INSERT INTO notifications (source, event_id, order_id, order_version, type, customer_email, status, attempts, created_at)
VALUES (?, ?, ?, ?, ?, ?, 'CLAIMED', 1, ?);

-- MarkNotificationsSent is MarkNotificationSent for several events.
-- name: MarkNotificationsSent :exec
UPDATE notifications FORCE INDEX (PRIMARY) SET status = 'SENT', sent_at = sqlc.arg(sent_at)
WHERE event_id IN (sqlc.slice(event_ids)) AND source = sqlc.arg(source);
