-- CountByStatus counts the rows that are in a status and have no next attempt, up to a limit; of those in ERROR that are the
-- parked ones. Like the two below it goes by the shards, whose index has no other rows in it; it is forced since MySQL would
-- look for the first of few by walking through all that was sent.
-- name: CountByStatus :one
SELECT COUNT(*) FROM (
  SELECT o.id FROM outbox_shards s JOIN outbox o FORCE INDEX (outbox_due)
    ON o.shard = s.shard AND o.status = ? AND o.next_attempt_at IS NULL
  LIMIT ?
) n;

-- OldestByStatus returns the age in microseconds of the oldest of those rows, 0 when there is none. The shard is part of the
-- order since MySQL would sort them all otherwise, for the first of each shard.
-- name: OldestByStatus :one
SELECT CAST(COALESCE(MAX(TIMESTAMPDIFF(MICROSECOND,
  (SELECT o.created_at FROM outbox o FORCE INDEX (outbox_due)
   WHERE o.shard = s.shard AND o.status = ? AND o.next_attempt_at IS NULL ORDER BY o.shard, o.id LIMIT 1), NOW(6))), 0) AS SIGNED) AS age_micros
FROM outbox_shards s;

-- WatchWaiting counts the refused rows of some shards that have a next attempt, up to a limit, with the age in microseconds
-- of the one that was stored first of them, 0 when there is none. It names the shards: in a join with their table MySQL would
-- pass over the parked rows.
-- name: WatchWaiting :one
SELECT r.waiting, CAST(COALESCE(TIMESTAMPDIFF(MICROSECOND, (SELECT f.created_at FROM outbox f WHERE f.id = r.first_id), NOW(6)), 0) AS SIGNED) AS age_micros
FROM (
  SELECT COUNT(*) AS waiting, MIN(w.id) AS first_id FROM (
    SELECT o.id FROM outbox o FORCE INDEX (outbox_due)
    WHERE o.shard IN (sqlc.slice(shards)) AND o.status = 'ERROR' AND o.next_attempt_at IS NOT NULL
    LIMIT ?
  ) w
) r;
