-- ListByStatus lists the rows of a shard with a status and without a next attempt, oldest first, after an id, with their age
-- in seconds; in ERROR these are the parked rows. It works per shard, since rows of all shards would have to be sorted, and
-- there may be a million.
-- name: ListByStatus :many
SELECT id, aggregate_id, type, status, created_at, sent_at, attempts, next_attempt_at, last_error,
  CAST(TIMESTAMPDIFF(SECOND, created_at, NOW(6)) AS SIGNED) AS age_seconds
FROM outbox FORCE INDEX (outbox_due)
WHERE shard = ? AND status = ? AND next_attempt_at IS NULL AND id > ?
ORDER BY id
LIMIT ?;

-- ListWaiting lists the rows of a shard with a status and a next attempt, oldest first, after an id, with their age in seconds:
-- in ERROR the refused ones, in NEW those that a process holds or has left unsent.
-- The index orders them by attempt: the inner query sorts only their ids.
-- name: ListWaiting :many
SELECT o.id, o.aggregate_id, o.type, o.status, o.created_at, o.sent_at, o.attempts, o.next_attempt_at, o.last_error,
  CAST(TIMESTAMPDIFF(SECOND, o.created_at, NOW(6)) AS SIGNED) AS age_seconds
FROM (
  SELECT w.id FROM outbox w FORCE INDEX (outbox_due)
  WHERE w.shard = ? AND w.status = ? AND w.next_attempt_at IS NOT NULL AND w.id > ?
  ORDER BY w.id
  LIMIT ?
) p STRAIGHT_JOIN outbox o ON o.id = p.id
ORDER BY o.id;

-- GetState reads the state of one row for an operator.
-- name: GetState :one
SELECT id, aggregate_id, type, status, created_at, sent_at, attempts, next_attempt_at, last_error,
  CAST(TIMESTAMPDIFF(SECOND, created_at, NOW(6)) AS SIGNED) AS age_seconds
FROM outbox
WHERE id = ?;

-- GetStored reads the stored event of one row.
-- name: GetStored :one
SELECT payload, headers FROM outbox WHERE id = ?;

-- Requeue makes a parked or discarded row due again as if it had never been refused. It affects no row in any other state.
-- name: Requeue :execrows
UPDATE outbox
SET status = 'ERROR', attempts = 0, next_attempt_at = NOW(6)
WHERE id = ? AND (status = 'DISCARDED' OR status = 'ERROR' AND next_attempt_at IS NULL);

-- ListStored pages through the whole outbox in order of id, without the payloads, with the age of each row in microseconds.
-- name: ListStored :many
SELECT id, aggregate_id, type, headers, status, created_at, CAST(TIMESTAMPDIFF(MICROSECOND, created_at, NOW(6)) AS SIGNED) AS age_micros
FROM outbox WHERE id > ? ORDER BY id LIMIT ?;

-- Resend makes a new or sent row due again, as if no broker had it. It affects no row in any other state.
-- name: Resend :execrows
UPDATE outbox
SET status = 'ERROR', attempts = 0, last_error = ?, next_attempt_at = NOW(6), sent_at = NULL, kafka_partition = NULL, kafka_offset = NULL
WHERE id = ? AND status IN ('NEW', 'SENT');

-- InsertRequeued marks a requeued row as waiting.
-- name: InsertRequeued :exec
INSERT INTO outbox_waiting (id, aggregate_id)
SELECT o.id, o.aggregate_id FROM outbox o WHERE o.id = ?
ON DUPLICATE KEY UPDATE outbox_waiting.id = outbox_waiting.id;

-- Discard gives up a parked row. It affects no row in any other state, since a relay may be sending it.
-- name: Discard :execrows
UPDATE outbox
SET status = 'DISCARDED'
WHERE id = ? AND status = 'ERROR' AND next_attempt_at IS NULL;

-- CountSentBefore counts the rows that were sent before a time.
-- name: CountSentBefore :one
SELECT COUNT(*) FROM outbox WHERE status = 'SENT' AND sent_at < ?;
