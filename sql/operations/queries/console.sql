-- ListLastLetterActions lists the newest actions about dead letters, newest first.
-- name: ListLastLetterActions :many
SELECT id, topic, kafka_partition, kafka_offset, consumer, event_source, event_id, action, attempts, status, detail, actor, at
FROM dead_letter_actions ORDER BY id DESC LIMIT ?;

-- ListLastOutboxActions lists the newest actions about outbox rows, newest first.
-- name: ListLastOutboxActions :many
SELECT id, schema_name, row_id, action, detail, actor, at, outcome
FROM outbox_actions ORDER BY id DESC LIMIT ?;
