-- +goose Up
-- The outbox: events stored with the state that they tell of, and sent by the relay.
-- payload is text and not JSON: the server rewrites JSON text, and the record's value must be the event's bytes.
CREATE TABLE IF NOT EXISTS outbox (
  id              BIGINT       NOT NULL AUTO_INCREMENT,
  shard           TINYINT UNSIGNED NOT NULL,
  aggregate_type  VARCHAR(32)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  aggregate_id    VARCHAR(64)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  type            VARCHAR(64)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  payload         MEDIUMTEXT   NOT NULL,
  headers         TEXT         NOT NULL,
  status          ENUM('NEW', 'SENT', 'ERROR') NOT NULL DEFAULT 'NEW',
  created_at      DATETIME(6)  NOT NULL,
  sent_at         DATETIME(6)  NULL,
  attempts        INT          NOT NULL DEFAULT 0,
  next_attempt_at DATETIME(6)  NULL,
  last_error      VARCHAR(500) NULL,
  kafka_partition INT          NULL,
  kafka_offset    BIGINT       NULL,
  PRIMARY KEY (id),
  KEY outbox_due (shard, status, id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

-- One row a shard: a relay holds the row while it sends the shard's events, so that one aggregate's
-- events leave in order however many relays there are.
CREATE TABLE IF NOT EXISTS outbox_shards (
  shard TINYINT UNSIGNED NOT NULL,
  PRIMARY KEY (shard)
) ENGINE = InnoDB;

INSERT INTO outbox_shards (shard) VALUES (0), (1), (2), (3), (4), (5), (6), (7)
ON DUPLICATE KEY UPDATE shard = shard;

-- The inbox: which events a consumer has handled, written in the transaction of their effect.
CREATE TABLE IF NOT EXISTS inbox (
  consumer     VARCHAR(64)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  source       VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  event_id     VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  processed_at DATETIME(6)  NOT NULL,
  PRIMARY KEY (event_id, consumer, source),
  KEY inbox_processed_at (processed_at)
) ENGINE = InnoDB;

-- +goose Down
DROP TABLE inbox;
DROP TABLE outbox_shards;
DROP TABLE outbox;
