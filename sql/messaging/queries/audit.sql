-- WalkEvents pages through the whole outbox in order of id, without the payloads.
-- name: WalkEvents :many
SELECT id, aggregate_id, type, headers, status, next_attempt_at, last_error, kafka_partition, kafka_offset
FROM outbox WHERE id > ? ORDER BY id LIMIT ?;
