-- InsertEvent stores one event to be sent; InsertEvents stores many with one statement. For hold_micros microseconds on the
-- database's clock it is left to the process that stores it; NULL leaves it to any relay at once.
-- name: InsertEvent :exec
INSERT INTO outbox (shard, aggregate_type, aggregate_id, type, payload, headers, created_at, next_attempt_at)
VALUES (?, ?, ?, ?, ?, ?, ?, TIMESTAMPADD(MICROSECOND, sqlc.narg(hold_micros), NOW(6)));

-- ListPendingShards returns those of some shards that have new rows which nobody holds, or rows whose next attempt is due: refused
-- ones, and new ones that their process has not sent in time. The search for due rows names each shard: if it took the shard from
-- the other table, MySQL would scan the parked rows. It selects a single row instead of EXISTS, which MariaDB turns into a scan of
-- the whole outbox.
-- name: ListPendingShards :many
SELECT s.shard FROM outbox_shards s
WHERE s.shard IN (sqlc.slice(shards)) AND (
  (SELECT n.id FROM outbox n FORCE INDEX (outbox_due) WHERE n.shard = s.shard AND n.status = 'NEW' AND n.next_attempt_at IS NULL LIMIT 1) IS NOT NULL
  OR CASE s.shard
    WHEN 0 THEN (SELECT d.id FROM outbox d FORCE INDEX (outbox_due) WHERE d.shard = 0 AND d.status IN ('NEW', 'ERROR') AND d.next_attempt_at <= NOW(6) LIMIT 1)
    WHEN 1 THEN (SELECT d.id FROM outbox d FORCE INDEX (outbox_due) WHERE d.shard = 1 AND d.status IN ('NEW', 'ERROR') AND d.next_attempt_at <= NOW(6) LIMIT 1)
    WHEN 2 THEN (SELECT d.id FROM outbox d FORCE INDEX (outbox_due) WHERE d.shard = 2 AND d.status IN ('NEW', 'ERROR') AND d.next_attempt_at <= NOW(6) LIMIT 1)
    WHEN 3 THEN (SELECT d.id FROM outbox d FORCE INDEX (outbox_due) WHERE d.shard = 3 AND d.status IN ('NEW', 'ERROR') AND d.next_attempt_at <= NOW(6) LIMIT 1)
    WHEN 4 THEN (SELECT d.id FROM outbox d FORCE INDEX (outbox_due) WHERE d.shard = 4 AND d.status IN ('NEW', 'ERROR') AND d.next_attempt_at <= NOW(6) LIMIT 1)
    WHEN 5 THEN (SELECT d.id FROM outbox d FORCE INDEX (outbox_due) WHERE d.shard = 5 AND d.status IN ('NEW', 'ERROR') AND d.next_attempt_at <= NOW(6) LIMIT 1)
    WHEN 6 THEN (SELECT d.id FROM outbox d FORCE INDEX (outbox_due) WHERE d.shard = 6 AND d.status IN ('NEW', 'ERROR') AND d.next_attempt_at <= NOW(6) LIMIT 1)
    WHEN 7 THEN (SELECT d.id FROM outbox d FORCE INDEX (outbox_due) WHERE d.shard = 7 AND d.status IN ('NEW', 'ERROR') AND d.next_attempt_at <= NOW(6) LIMIT 1)
  END IS NOT NULL)
ORDER BY s.shard;

-- MarkOneSent is MarkSent for a single row.
-- name: MarkOneSent :exec
UPDATE outbox SET status = 'SENT', sent_at = ?, next_attempt_at = NULL, kafka_partition = ?, kafka_offset = ? WHERE id = ?;

-- ClaimOneShard locks a shard until the transaction ends, unless another relay has locked it. ClaimShards claims several with
-- a statement for each, since for a list MySQL reads all shards and locks each for a moment: a relay that claims other shards
-- meanwhile would skip shards that are free.
-- name: ClaimOneShard :one
SELECT shard FROM outbox_shards WHERE shard = ? FOR UPDATE SKIP LOCKED;

-- ListDue lists the rows of a shard whose next attempt is due, longest due first, each with the next attempt of the row that
-- holds it back: the first waiting row of its aggregate. Parked rows have no next attempt. The order includes the status, so
-- that it is the order of the index: new rows, whose process has not sent them in time, come first.
-- name: ListDue :many
SELECT o.id, o.aggregate_id, o.type, o.payload, o.headers, o.attempts,
  (SELECT e.next_attempt_at FROM outbox_waiting w FORCE INDEX (outbox_waiting_aggregate) STRAIGHT_JOIN outbox e ON e.id = w.id
    WHERE w.aggregate_id = o.aggregate_id AND w.id < o.id AND e.status = 'ERROR' AND e.next_attempt_at IS NOT NULL
    ORDER BY w.id LIMIT 1) AS held_until
FROM outbox o FORCE INDEX (outbox_due)
WHERE o.shard = ? AND o.status IN ('NEW', 'ERROR') AND o.next_attempt_at <= NOW(6)
ORDER BY o.status, o.next_attempt_at, o.id
LIMIT ?;

-- ListHolders lists the waiting rows of some aggregates, which hold back the later rows of these.
-- name: ListHolders :many
SELECT w.id, w.aggregate_id, e.next_attempt_at
FROM outbox_waiting w FORCE INDEX (outbox_waiting_aggregate) STRAIGHT_JOIN outbox e ON e.id = w.id
WHERE w.aggregate_id IN (sqlc.slice(aggregate_ids)) AND e.status = 'ERROR' AND e.next_attempt_at IS NOT NULL
ORDER BY w.aggregate_id, w.id;

-- ListHeld lists the new rows of a shard that a process holds, or has held and not sent: they too hold back the later rows of
-- their aggregates. They are as many as processes are sending, or left behind when they ended.
-- name: ListHeld :many
SELECT id, aggregate_id, next_attempt_at
FROM outbox FORCE INDEX (outbox_due)
WHERE shard = ? AND status = 'NEW' AND next_attempt_at IS NOT NULL;

-- Release ends the hold on rows that their process has not sent: they are due now. They stay among those of ListHeld, since a relay
-- may have read the rows without a hold before, and looks for those that hold them back after.
-- name: Release :exec
UPDATE outbox SET next_attempt_at = NOW(6) WHERE id IN (sqlc.slice(ids)) AND status = 'NEW' AND next_attempt_at > NOW(6);

-- ListNew lists the new rows of a shard in the order in which they were written, after an id. Each row says whether the
-- shard also has rows with a next attempt at that moment.
-- name: ListNew :many
SELECT n.id, n.aggregate_id, n.type, n.payload, n.headers,
  CAST((SELECT w.id FROM outbox w FORCE INDEX (outbox_due)
    WHERE w.shard = sqlc.arg(shard) AND w.status IN ('NEW', 'ERROR') AND w.next_attempt_at IS NOT NULL LIMIT 1) IS NOT NULL AS SIGNED) AS waits
FROM outbox n FORCE INDEX (outbox_due)
WHERE n.shard = sqlc.arg(shard) AND n.status = 'NEW' AND n.next_attempt_at IS NULL AND n.id > sqlc.arg(after)
ORDER BY n.id
LIMIT ?;

-- RecordRefusal counts an attempt of a row that the broker refused; the next one is due after a wait in microseconds, on the
-- database's clock.
-- name: RecordRefusal :exec
UPDATE outbox
SET status = 'ERROR', attempts = attempts + 1, last_error = ?, next_attempt_at = TIMESTAMPADD(MICROSECOND, sqlc.arg(wait_micros), NOW(6))
WHERE id = ?;

-- Park counts the last attempt of a row: it stays visible, holds back nothing and waits for an operator.
-- name: Park :exec
UPDATE outbox
SET status = 'ERROR', attempts = attempts + 1, last_error = ?, next_attempt_at = NULL
WHERE id = ?;

-- InsertWaiting marks a row as waiting for its next attempt; InsertAllWaiting marks many with one statement.
-- name: InsertWaiting :exec
INSERT INTO outbox_waiting (id, aggregate_id) VALUES (?, ?)
ON DUPLICATE KEY UPDATE outbox_waiting.id = outbox_waiting.id;

-- DeleteWaiting unmarks a row that no longer waits.
-- name: DeleteWaiting :exec
DELETE FROM outbox_waiting WHERE id = ?;

-- HoldBack makes a row wait for the next attempt of the row that holds it back. It counts no attempt.
-- name: HoldBack :exec
UPDATE outbox
SET status = 'ERROR', last_error = COALESCE(last_error, 'held back by an earlier event of its aggregate'), next_attempt_at = ?
WHERE id = ?;

-- FirstEvent returns the lowest id in the outbox.
-- name: FirstEvent :one
SELECT id FROM outbox ORDER BY id LIMIT 1;

-- LastOfRange returns the last id of a run of rows from an id on, and when that row was stored.
-- name: LastOfRange :one
SELECT r.id, r.created_at FROM (
  SELECT o.id, o.created_at FROM outbox o WHERE o.id >= ? ORDER BY o.id LIMIT ?
) r ORDER BY r.id DESC LIMIT 1;

-- DeleteSentRange deletes the rows of a range of ids that were sent before a time.
-- name: DeleteSentRange :execrows
DELETE FROM outbox
WHERE id BETWEEN sqlc.arg(first_id) AND sqlc.arg(last_id) AND status = 'SENT' AND sent_at < sqlc.arg(sent_before);

-- ListUnconfirmed lists the new rows of a shard after an id, without their payloads, with their age in microseconds.
-- name: ListUnconfirmed :many
SELECT id, aggregate_id, type, headers, created_at, CAST(TIMESTAMPDIFF(MICROSECOND, created_at, NOW(6)) AS SIGNED) AS age_micros
FROM outbox FORCE INDEX (outbox_due)
WHERE shard = ? AND status = 'NEW' AND next_attempt_at IS NULL AND id > ?
ORDER BY id
LIMIT ?;

-- LeaveToRelay makes a new row due for a relay that only retries. It affects no row in any other state.
-- name: LeaveToRelay :execrows
UPDATE outbox
SET status = 'ERROR', last_error = ?, next_attempt_at = NOW(6)
WHERE id = ? AND status = 'NEW';
