-- +goose Up
-- By the next attempt the index tells the refused rows that are due from those that wait and from those that are parked,
-- which have none: nobody passes over the others. For all other rows it is NULL, so that they stand in the order of their ids.
ALTER TABLE outbox DROP KEY outbox_due, ADD KEY outbox_due (shard, status, next_attempt_at, id);

-- The aggregates of the rows that wait for their next attempt, each of which holds back the later rows of its aggregate.
-- It is an index that the relay keeps by hand, since one of the outbox would be paid for by every event: what is in it
-- counts only as long as the row waits.
CREATE TABLE IF NOT EXISTS outbox_waiting (
  id           BIGINT      NOT NULL,
  aggregate_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  PRIMARY KEY (id),
  KEY outbox_waiting_aggregate (aggregate_id, id)
) ENGINE = InnoDB;

INSERT INTO outbox_waiting (id, aggregate_id)
SELECT o.id, o.aggregate_id
FROM outbox_shards s JOIN outbox o ON o.shard = s.shard AND o.status = 'ERROR' AND o.next_attempt_at IS NOT NULL
ON DUPLICATE KEY UPDATE outbox_waiting.id = outbox_waiting.id;

-- +goose Down
DROP TABLE outbox_waiting;
ALTER TABLE outbox DROP KEY outbox_due, ADD KEY outbox_due (shard, status, id);
