-- +goose Up
-- What operators did about dead letters, in the order in which they did it. A letter is known by its place; its event
-- and its consumer tell it from one that came to the same place of a topic that was made anew. What a letter is now
-- follows from its actions: the topic itself is never written to.
CREATE TABLE IF NOT EXISTS dead_letter_actions (
  id              BIGINT       NOT NULL AUTO_INCREMENT,
  topic           VARCHAR(249) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  kafka_partition INT          NOT NULL,
  kafka_offset    BIGINT       NOT NULL,
  consumer        VARCHAR(64)  CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  event_source    VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  event_id        VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  action          ENUM('REPLAY_STARTED', 'REPLAYED', 'REPLAY_FAILED', 'PARKED', 'DISCARDED', 'REOPENED') NOT NULL,
  attempts        INT          NOT NULL,
  status          INT          NULL,
  detail          VARCHAR(500) NOT NULL,
  actor           VARCHAR(128) NOT NULL,
  at              DATETIME(6)  NOT NULL,
  PRIMARY KEY (id),
  KEY dead_letter_actions_place (topic, kafka_partition, kafka_offset)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

-- What operators did about outbox rows. It is written before the row is changed, and outcome after it: an action
-- without one may or may not have been done, and can be repeated. row_id is NULL when many rows were meant.
CREATE TABLE IF NOT EXISTS outbox_actions (
  id          BIGINT       NOT NULL AUTO_INCREMENT,
  schema_name VARCHAR(64)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  row_id      BIGINT       NULL,
  action      ENUM('REQUEUE', 'DISCARD', 'PURGE') NOT NULL,
  detail      VARCHAR(500) NOT NULL,
  actor       VARCHAR(128) NOT NULL,
  at          DATETIME(6)  NOT NULL,
  outcome     VARCHAR(500) NULL,
  PRIMARY KEY (id),
  KEY outbox_actions_row (schema_name, row_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

-- +goose Down
DROP TABLE outbox_actions;
DROP TABLE dead_letter_actions;
