-- InsertHandled records that a consumer handles an event; it affects no row when the consumer has handled it before.
-- name: InsertHandled :execrows
INSERT INTO inbox (consumer, source, event_id, processed_at)
VALUES (?, ?, ?, ?)
ON DUPLICATE KEY UPDATE event_id = event_id;

-- DeleteHandledBefore forgets a bounded number of events that were handled before a time, oldest first.
-- name: DeleteHandledBefore :execrows
DELETE FROM inbox WHERE processed_at < ? ORDER BY processed_at LIMIT ?;
