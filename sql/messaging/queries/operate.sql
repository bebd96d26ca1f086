-- ListByStatus lists the rows of a shard that are in a status, from the oldest on, after an id, with their age in seconds.
-- It is by shard, as ListParked is, since rows of all shards would have to be sorted, and a million may wait.
-- name: ListByStatus :many
SELECT id, aggregate_id, type, status, created_at, sent_at, attempts, next_attempt_at, last_error,
  CAST(TIMESTAMPDIFF(SECOND, created_at, NOW(6)) AS SIGNED) AS age_seconds
FROM outbox FORCE INDEX (outbox_due)
WHERE shard = ? AND status = ? AND id > ?
ORDER BY id
LIMIT ?;

-- ListParked lists the rows of a shard that were refused for good, from the oldest on, after an id, with their age in
-- seconds.
-- name: ListParked :many
SELECT id, aggregate_id, type, status, created_at, sent_at, attempts, next_attempt_at, last_error,
  CAST(TIMESTAMPDIFF(SECOND, created_at, NOW(6)) AS SIGNED) AS age_seconds
FROM outbox FORCE INDEX (outbox_due)
WHERE shard = ? AND status = 'ERROR' AND id > ? AND next_attempt_at IS NULL
ORDER BY id
LIMIT ?;

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

-- Discard gives a parked row up. It affects no row in any other state: a relay may be sending it.
-- name: Discard :execrows
UPDATE outbox
SET status = 'DISCARDED'
WHERE id = ? AND status = 'ERROR' AND next_attempt_at IS NULL;

-- CountSentBefore counts the rows that were sent before a time.
-- name: CountSentBefore :one
SELECT COUNT(*) FROM outbox WHERE status = 'SENT' AND sent_at < ?;
