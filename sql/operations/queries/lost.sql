-- RecordLost records that records of a partition were removed before a consumer had handled them. If the consumer finds the
-- same loss again, because it ended before it continued, only what was removed meanwhile is added.
-- name: RecordLost :exec
INSERT INTO lost_records (topic, kafka_partition, consumer, first_offset, next_offset, at)
VALUES (?, ?, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE next_offset = GREATEST(next_offset, VALUES(next_offset)), at = VALUES(at);

-- ListLostSince lists the losses after a time, oldest first.
-- name: ListLostSince :many
SELECT topic, kafka_partition, consumer, first_offset, next_offset, at
FROM lost_records WHERE at > ?
ORDER BY at
LIMIT ?;
