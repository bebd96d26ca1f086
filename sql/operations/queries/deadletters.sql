-- InsertLetterAction records an action on a dead letter, at the database's time.
-- name: InsertLetterAction :exec
INSERT INTO dead_letter_actions (topic, kafka_partition, kafka_offset, consumer, event_source, event_id, action, attempts, status, detail, actor, at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NOW(6));

-- ListLetterActions lists the actions on the dead letters of a partition, for an inclusive range of offsets, oldest first.
-- name: ListLetterActions :many
SELECT id, topic, kafka_partition, kafka_offset, consumer, event_source, event_id, action, attempts, status, detail, actor, at
FROM dead_letter_actions
WHERE topic = ? AND kafka_partition = ? AND kafka_offset BETWEEN sqlc.arg(first_offset) AND sqlc.arg(last_offset)
ORDER BY id;
