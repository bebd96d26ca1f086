-- WalkEvents pages through the whole outbox in order of id, without the payloads.
-- name: WalkEvents :many
SELECT id, aggregate_id, type, headers, status, next_attempt_at, last_error, kafka_partition, kafka_offset
FROM outbox WHERE id > ? ORDER BY id LIMIT ?;

-- WalkEventsOf reads some rows of the outbox by their ids, in this order, without the payloads.
-- name: WalkEventsOf :many
SELECT id, aggregate_id, type, headers, status, next_attempt_at, last_error, kafka_partition, kafka_offset
FROM outbox FORCE INDEX (PRIMARY) WHERE id IN (sqlc.slice(ids)) ORDER BY id;

-- ListNewestEvents pages backwards through the outbox in order of id.
-- name: ListNewestEvents :many
SELECT id, created_at FROM outbox WHERE id < sqlc.arg(before_id) ORDER BY id DESC LIMIT ?;
