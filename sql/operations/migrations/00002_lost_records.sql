-- +goose Up
-- Records that were removed from a topic before their consumer had handled them: the offsets from first_offset up to, and
-- without, next_offset. What the consumer had handled of them beyond a record that was tried again is among them.
CREATE TABLE IF NOT EXISTS lost_records (
  id              BIGINT       NOT NULL AUTO_INCREMENT,
  topic           VARCHAR(249) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  kafka_partition INT          NOT NULL,
  consumer        VARCHAR(64)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  first_offset    BIGINT       NOT NULL,
  next_offset     BIGINT       NOT NULL,
  at              DATETIME(6)  NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY lost_records_place (topic, kafka_partition, consumer, first_offset),
  KEY lost_records_at (at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

-- +goose Down
DROP TABLE lost_records;
