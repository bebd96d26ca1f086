-- ListByStatus lists the rows of a status, from the oldest on, after an id, with their age in seconds. It goes by the
-- shards, whose index has no other rows in it.
-- name: ListByStatus :many
SELECT o.id, o.aggregate_id, o.type, o.status, o.created_at, o.sent_at, o.attempts, o.next_attempt_at, o.last_error,
  CAST(TIMESTAMPDIFF(SECOND, o.created_at, NOW(6)) AS SIGNED) AS age_seconds
FROM outbox_shards s
JOIN outbox o ON o.shard = s.shard AND o.status = ?
WHERE o.id > ?
ORDER BY o.id
LIMIT ?;

-- ListParked lists the rows that were refused for good, from the oldest on, after an id, with their age in seconds.
-- name: ListParked :many
SELECT o.id, o.aggregate_id, o.type, o.status, o.created_at, o.sent_at, o.attempts, o.next_attempt_at, o.last_error,
  CAST(TIMESTAMPDIFF(SECOND, o.created_at, NOW(6)) AS SIGNED) AS age_seconds
FROM outbox_shards s
JOIN outbox o ON o.shard = s.shard AND o.status = 'ERROR'
WHERE o.id > ? AND o.next_attempt_at IS NULL
ORDER BY o.id
LIMIT ?;

-- GetState returns what an operator needs to know of one row.
-- name: GetState :one
SELECT id, aggregate_id, type, status, created_at, sent_at, attempts, next_attempt_at, last_error,
  CAST(TIMESTAMPDIFF(SECOND, created_at, NOW(6)) AS SIGNED) AS age_seconds
FROM outbox
WHERE id = ?;

-- Requeue makes a parked row, or one that was given up, due again as if it had never been refused. It affects no row in
-- any other state.
-- name: Requeue :execrows
UPDATE outbox
SET status = 'ERROR', attempts = 0, next_attempt_at = NOW(6)
WHERE id = ? AND (status = 'DISCARDED' OR status = 'ERROR' AND next_attempt_at IS NULL);

-- Discard gives a parked row up. It affects no row in any other state: a relay may be sending it.
-- name: Discard :execrows
UPDATE outbox
SET status = 'DISCARDED'
WHERE id = ? AND status = 'ERROR' AND next_attempt_at IS NULL;

-- CountSentBefore counts the rows that were sent before a time.
-- name: CountSentBefore :one
SELECT COUNT(*) FROM outbox WHERE status = 'SENT' AND sent_at < ?;
