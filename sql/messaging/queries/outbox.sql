-- InsertEvent stores one event to be sent; InsertEvents stores many by one statement.
-- name: InsertEvent :exec
INSERT INTO outbox (shard, aggregate_type, aggregate_id, type, payload, headers, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?);

-- ListPendingShards finds those of some shards with rows that are new or whose retry is due. It asks for a single row and
-- not for EXISTS, which MariaDB turns into a scan of the whole outbox.
-- name: ListPendingShards :many
SELECT s.shard FROM outbox_shards s
WHERE s.shard IN (sqlc.slice(shards)) AND (
     (SELECT n.id FROM outbox n WHERE n.shard = s.shard AND n.status = 'NEW' LIMIT 1) IS NOT NULL
  OR (SELECT e.id FROM outbox e WHERE e.shard = s.shard AND e.status = 'ERROR' AND e.next_attempt_at <= NOW(6) LIMIT 1) IS NOT NULL)
ORDER BY s.shard;

-- MarkOneSent is MarkSent for a single row.
-- name: MarkOneSent :exec
UPDATE outbox SET status = 'SENT', sent_at = ?, next_attempt_at = NULL, kafka_partition = ?, kafka_offset = ? WHERE id = ?;

-- ClaimShards takes those of some shards that no other relay has, until the transaction ends.
-- name: ClaimShards :many
SELECT shard FROM outbox_shards FORCE INDEX (PRIMARY) WHERE shard IN (sqlc.slice(shards)) ORDER BY shard FOR UPDATE SKIP LOCKED;

-- ListRetries lists the refused rows of a shard that will be tried again, oldest first, from after an id on. Parked
-- rows are not among them: they have no next attempt.
-- name: ListRetries :many
SELECT id, aggregate_id, type, payload, headers, attempts, next_attempt_at <= NOW(6) AS due
FROM outbox
WHERE shard = ? AND status = 'ERROR' AND id > ? AND next_attempt_at IS NOT NULL
ORDER BY id
LIMIT ?;

-- ListNew lists the new rows of a shard in the order in which they were written, from after an id on. Each says whether
-- the shard has rows to retry as well, at the same moment.
-- name: ListNew :many
SELECT n.id, n.aggregate_id, n.type, n.payload, n.headers,
  CAST((SELECT e.id FROM outbox e WHERE e.shard = sqlc.arg(shard) AND e.status = 'ERROR' AND e.next_attempt_at IS NOT NULL LIMIT 1) IS NOT NULL AS SIGNED) AS retries
FROM outbox n
WHERE n.shard = sqlc.arg(shard) AND n.status = 'NEW' AND n.id > sqlc.arg(after)
ORDER BY n.id
LIMIT ?;

-- RecordRefusal counts an attempt against a row that the broker refused; the next one is due after a wait in
-- microseconds, on the database's clock.
-- name: RecordRefusal :exec
UPDATE outbox
SET status = 'ERROR', attempts = attempts + 1, last_error = ?, next_attempt_at = TIMESTAMPADD(MICROSECOND, sqlc.arg(wait_micros), NOW(6))
WHERE id = ?;

-- Park counts the last attempt against a row: it stays visible, holds back nothing and waits for an operator.
-- name: Park :exec
UPDATE outbox
SET status = 'ERROR', attempts = attempts + 1, last_error = ?, next_attempt_at = NULL
WHERE id = ?;

-- FirstEvent returns the lowest id in the outbox.
-- name: FirstEvent :one
SELECT id FROM outbox ORDER BY id LIMIT 1;

-- LastOfRange returns the id that ends a run of so many rows from an id on, and when that row was stored.
-- name: LastOfRange :one
SELECT r.id, r.created_at FROM (
  SELECT o.id, o.created_at FROM outbox o WHERE o.id >= ? ORDER BY o.id LIMIT ?
) r ORDER BY r.id DESC LIMIT 1;

-- DeleteSentRange removes the rows of a range of ids that were sent before a time.
-- name: DeleteSentRange :execrows
DELETE FROM outbox
WHERE id BETWEEN sqlc.arg(first_id) AND sqlc.arg(last_id) AND status = 'SENT' AND sent_at < sqlc.arg(sent_before);
