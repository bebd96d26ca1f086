-- FirstEventFrom returns the first id in the outbox from an id on, and when that row was stored.
-- name: FirstEventFrom :one
SELECT id, created_at FROM outbox WHERE id >= ? ORDER BY id LIMIT 1;

-- LastEvent returns the highest id in the outbox.
-- name: LastEvent :one
SELECT id FROM outbox ORDER BY id DESC LIMIT 1;

-- ListEventsOf lists the events of one aggregate by scanning its shard between two ids, without the second: every stored event
-- would pay for an index by aggregate, which few lookups need.
-- name: ListEventsOf :many
SELECT id, type, payload, headers, status, created_at, sent_at, attempts, next_attempt_at, last_error, kafka_partition, kafka_offset
FROM outbox FORCE INDEX (outbox_due)
WHERE shard = sqlc.arg(shard) AND status IN ('NEW', 'SENT', 'ERROR', 'DISCARDED') AND (next_attempt_at IS NULL OR next_attempt_at > '1970-01-01')
  AND id >= sqlc.arg(from_id) AND id < sqlc.arg(to_id) AND aggregate_id = sqlc.arg(aggregate_id)
ORDER BY id
LIMIT ?;

-- ListHandledBetween lists the consumers that have handled the events of a range of ids, without its end.
-- name: ListHandledBetween :many
SELECT consumer, source, event_id, processed_at
FROM inbox WHERE event_id >= sqlc.arg(from_id) AND event_id < sqlc.arg(to_id)
ORDER BY event_id, consumer
LIMIT ?;
