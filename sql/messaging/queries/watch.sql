-- CountNew counts the rows that are new, up to a limit. Like the two below it goes by the shards, whose index has no
-- other rows in it; it is forced since MySQL would look for the first of few by walking through all that was sent.
-- name: CountNew :one
SELECT COUNT(*) FROM (
  SELECT o.id FROM outbox_shards s JOIN outbox o FORCE INDEX (outbox_due) ON o.shard = s.shard AND o.status = 'NEW' LIMIT ?
) n;

-- OldestNew returns the age in microseconds of the oldest row that is new, 0 when there is none. The shard is part of the
-- order since MySQL would sort all that is new otherwise, for the first of each shard.
-- name: OldestNew :one
SELECT CAST(COALESCE(MAX(TIMESTAMPDIFF(MICROSECOND,
  (SELECT o.created_at FROM outbox o FORCE INDEX (outbox_due) WHERE o.shard = s.shard AND o.status = 'NEW' ORDER BY o.shard, o.id LIMIT 1), NOW(6))), 0) AS SIGNED) AS age_micros
FROM outbox_shards s;

-- WatchRefused counts the rows that were refused, up to a limit, and those of them that are parked, with the ages in
-- microseconds of the oldest of both kinds, 0 when there is none.
-- name: WatchRefused :one
SELECT COUNT(*) AS refused, CAST(COALESCE(SUM(r.next_attempt_at IS NULL), 0) AS SIGNED) AS parked,
  CAST(COALESCE(MAX(CASE WHEN r.next_attempt_at IS NOT NULL THEN TIMESTAMPDIFF(MICROSECOND, r.created_at, NOW(6)) END), 0) AS SIGNED) AS waiting_age_micros,
  CAST(COALESCE(MAX(CASE WHEN r.next_attempt_at IS NULL THEN TIMESTAMPDIFF(MICROSECOND, r.created_at, NOW(6)) END), 0) AS SIGNED) AS parked_age_micros
FROM (
  SELECT o.created_at, o.next_attempt_at FROM outbox_shards s JOIN outbox o FORCE INDEX (outbox_due) ON o.shard = s.shard AND o.status = 'ERROR' LIMIT ?
) r;
