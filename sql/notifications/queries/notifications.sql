-- OpenConversation makes sure that the order has its row; the row stays locked until the transaction ends.
-- name: OpenConversation :exec
INSERT INTO conversations (order_id, version) VALUES (?, 0)
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
