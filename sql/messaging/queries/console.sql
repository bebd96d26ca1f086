-- FirstEventFrom returns the first id in the outbox that is not below an id, and when that row was stored.
-- name: FirstEventFrom :one
SELECT id, created_at FROM outbox WHERE id >= ? ORDER BY id LIMIT 1;

-- LastEvent returns the highest id in the outbox.
-- name: LastEvent :one
SELECT id FROM outbox ORDER BY id DESC LIMIT 1;

-- ListEventsOf lists the events of one aggregate, of whose shard the rows from an id on are looked at: an index by
-- aggregate would be paid for by every event that is stored, for the few that somebody looks at.
-- name: ListEventsOf :many
SELECT id, type, payload, headers, status, created_at, sent_at, attempts, next_attempt_at, last_error, kafka_partition, kafka_offset
FROM outbox FORCE INDEX (outbox_due)
WHERE shard = sqlc.arg(shard) AND status IN ('NEW', 'SENT', 'ERROR', 'DISCARDED') AND (next_attempt_at IS NULL OR next_attempt_at > '1970-01-01')
  AND id >= sqlc.arg(from_id) AND aggregate_id = sqlc.arg(aggregate_id)
ORDER BY id
LIMIT ?;

-- ListHandledBetween lists who has handled the events of a range of ids, without its end.
-- name: ListHandledBetween :many
SELECT consumer, source, event_id, processed_at
FROM inbox WHERE event_id >= sqlc.arg(from_id) AND event_id < sqlc.arg(to_id)
ORDER BY event_id, consumer
LIMIT ?;
