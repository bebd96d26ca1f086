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

-- LastLetterAction returns the id of the newest action on a dead letter.
-- name: LastLetterAction :one
SELECT id FROM dead_letter_actions ORDER BY id DESC LIMIT 1;

-- ListLetterActionsAfter pages through the actions on dead letters in order of id. An action is settled if it is ten seconds
-- old: the ids of younger ones may become visible in another order.
-- name: ListLetterActionsAfter :many
SELECT id, topic, kafka_partition, kafka_offset, consumer, event_source, event_id, action,
  CAST(at < NOW(6) - INTERVAL 10 SECOND AS SIGNED) AS settled
FROM dead_letter_actions
WHERE id > ?
ORDER BY id LIMIT ?;

-- InsertLetterCorrection records a corrected copy of a dead letter, at the database's time.
-- name: InsertLetterCorrection :exec
INSERT INTO dead_letter_corrections (topic, kafka_partition, kafka_offset, consumer, event_source, event_id, original, corrected, reason, actor, at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NOW(6));

-- ListLetterCorrections lists the corrected copies of a dead letter, oldest first.
-- name: ListLetterCorrections :many
SELECT id, topic, kafka_partition, kafka_offset, consumer, event_source, event_id, original, corrected, reason, actor, at
FROM dead_letter_corrections
WHERE topic = ? AND kafka_partition = ? AND kafka_offset = ?
ORDER BY id;
