-- CountByStatus counts the rows with a status and without a next attempt, up to a limit; in ERROR these are the parked rows.
-- Like the two queries below it works per shard, so that the index has no other rows in between. The index is forced since
-- MySQL would find the first of few rows by scanning all sent ones.
-- name: CountByStatus :one
SELECT COUNT(*) FROM (
  SELECT o.id FROM outbox_shards s JOIN outbox o FORCE INDEX (outbox_due)
    ON o.shard = s.shard AND o.status = ? AND o.next_attempt_at IS NULL
  LIMIT ?
) n;

-- OldestByStatus returns the age in microseconds of the oldest of those rows, 0 without one. The order includes the shard,
-- since MySQL would otherwise sort all rows to find the first of each shard.
-- name: OldestByStatus :one
SELECT CAST(COALESCE(MAX(TIMESTAMPDIFF(MICROSECOND,
  (SELECT o.created_at FROM outbox o FORCE INDEX (outbox_due)
   WHERE o.shard = s.shard AND o.status = ? AND o.next_attempt_at IS NULL ORDER BY o.shard, o.id LIMIT 1), NOW(6))), 0) AS SIGNED) AS age_micros
FROM outbox_shards s;

-- WatchWaiting counts the rows of some shards with a status and a next attempt, up to a limit, and returns the age in
-- microseconds of the one stored first, 0 without one: see ListWaiting. It names the shards: in a join with their table MySQL would scan the
-- parked rows.
-- name: WatchWaiting :one
SELECT r.waiting, CAST(COALESCE(TIMESTAMPDIFF(MICROSECOND, (SELECT f.created_at FROM outbox f WHERE f.id = r.first_id), NOW(6)), 0) AS SIGNED) AS age_micros
FROM (
  SELECT COUNT(*) AS waiting, MIN(w.id) AS first_id FROM (
    SELECT o.id FROM outbox o FORCE INDEX (outbox_due)
    WHERE o.shard IN (sqlc.slice(shards)) AND o.status = sqlc.arg(status) AND o.next_attempt_at IS NOT NULL
    LIMIT ?
  ) w
) r;
