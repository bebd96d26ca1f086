-- InsertLetterAction records what is done about a letter, at the time of the database.
-- name: InsertLetterAction :exec
INSERT INTO dead_letter_actions (topic, kafka_partition, kafka_offset, consumer, event_source, event_id, action, attempts, status, detail, actor, at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NOW(6));

-- ListLetterActions lists the actions about the letters of a partition, those of a range of offsets with both its ends,
-- from the oldest action on.
-- name: ListLetterActions :many
SELECT id, topic, kafka_partition, kafka_offset, consumer, event_source, event_id, action, attempts, status, detail, actor, at
FROM dead_letter_actions
WHERE topic = ? AND kafka_partition = ? AND kafka_offset BETWEEN sqlc.arg(first_offset) AND sqlc.arg(last_offset)
ORDER BY id;
