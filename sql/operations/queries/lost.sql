-- RecordLost notes that records of a partition were removed before a consumer had handled them. A consumer that finds so
-- again, since it ended before it went on, adds nothing but what was removed meanwhile.
-- name: RecordLost :exec
INSERT INTO lost_records (topic, kafka_partition, consumer, first_offset, next_offset, at)
VALUES (?, ?, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE next_offset = GREATEST(next_offset, VALUES(next_offset)), at = VALUES(at);

-- ListLostSince lists the losses after a time, from the oldest on.
-- name: ListLostSince :many
SELECT topic, kafka_partition, consumer, first_offset, next_offset, at
FROM lost_records WHERE at > ?
ORDER BY at
LIMIT ?;
