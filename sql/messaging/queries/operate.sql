-- ListByStatus lists the rows of a shard that are in a status and have no next attempt, from the oldest on, after an id, with
-- their age in seconds; of those in ERROR that are the parked ones. It is by shard, since rows of all shards would have to
-- be sorted, and a million may wait.
-- name: ListByStatus :many
SELECT id, aggregate_id, type, status, created_at, sent_at, attempts, next_attempt_at, last_error,
  CAST(TIMESTAMPDIFF(SECOND, created_at, NOW(6)) AS SIGNED) AS age_seconds
FROM outbox FORCE INDEX (outbox_due)
WHERE shard = ? AND status = ? AND next_attempt_at IS NULL AND id > ?
ORDER BY id
LIMIT ?;

-- ListWaiting lists the refused rows of a shard that have a next attempt, from the oldest on, after an id, with their age in
-- seconds. The index has them in the order of their attempts: their ids are sorted first, and nothing else is.
-- name: ListWaiting :many
SELECT o.id, o.aggregate_id, o.type, o.status, o.created_at, o.sent_at, o.attempts, o.next_attempt_at, o.last_error,
  CAST(TIMESTAMPDIFF(SECOND, o.created_at, NOW(6)) AS SIGNED) AS age_seconds
FROM (
  SELECT w.id FROM outbox w FORCE INDEX (outbox_due)
  WHERE w.shard = ? AND w.status = 'ERROR' AND w.next_attempt_at IS NOT NULL AND w.id > ?
  ORDER BY w.id
  LIMIT ?
) p STRAIGHT_JOIN outbox o ON o.id = p.id
ORDER BY o.id;

-- GetState returns what an operator needs to know of one row.
-- name: GetState :one
SELECT id, aggregate_id, type, status, created_at, sent_at, attempts, next_attempt_at, last_error,
  CAST(TIMESTAMPDIFF(SECOND, created_at, NOW(6)) AS SIGNED) AS age_seconds
FROM outbox
WHERE id = ?;

-- GetStored returns the event of one row as it is stored.
-- name: GetStored :one
SELECT payload, headers FROM outbox WHERE id = ?;

-- Requeue makes a parked row, or one that was given up, due again as if it had never been refused. It affects no row in
-- any other state.
-- name: Requeue :execrows
UPDATE outbox
SET status = 'ERROR', attempts = 0, next_attempt_at = NOW(6)
WHERE id = ? AND (status = 'DISCARDED' OR status = 'ERROR' AND next_attempt_at IS NULL);

-- InsertRequeued notes that a row which was made due again waits.
-- name: InsertRequeued :exec
INSERT INTO outbox_waiting (id, aggregate_id)
SELECT o.id, o.aggregate_id FROM outbox o WHERE o.id = ?
ON DUPLICATE KEY UPDATE outbox_waiting.id = outbox_waiting.id;

-- Discard gives a parked row up. It affects no row in any other state: a relay may be sending it.
-- name: Discard :execrows
UPDATE outbox
SET status = 'DISCARDED'
WHERE id = ? AND status = 'ERROR' AND next_attempt_at IS NULL;

-- CountSentBefore counts the rows that were sent before a time.
-- name: CountSentBefore :one
SELECT COUNT(*) FROM outbox WHERE status = 'SENT' AND sent_at < ?;
