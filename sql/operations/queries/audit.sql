-- ListReplayed pages through the dead letters whose newest completed action is a replay that their consumer has handled, in
-- order of action id.
-- name: ListReplayed :many
SELECT a.id, a.topic, a.kafka_partition, a.kafka_offset, a.consumer, a.event_source, a.event_id
FROM dead_letter_actions a
WHERE a.id > ? AND a.action = 'REPLAYED' AND NOT EXISTS (
  SELECT 1 FROM dead_letter_actions later
  WHERE later.topic = a.topic AND later.kafka_partition = a.kafka_partition AND later.kafka_offset = a.kafka_offset AND later.id > a.id)
ORDER BY a.id LIMIT ?;
