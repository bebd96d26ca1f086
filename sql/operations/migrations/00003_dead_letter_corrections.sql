-- +goose Up
-- Corrected copies of dead letters that operators have sent, with the bytes of the letter as it was. A correction is
-- recorded before its delivery starts; what became of it is in dead_letter_actions. The letter itself stays as it is.
CREATE TABLE IF NOT EXISTS dead_letter_corrections (
  id              BIGINT       NOT NULL AUTO_INCREMENT,
  topic           VARCHAR(249) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  kafka_partition INT          NOT NULL,
  kafka_offset    BIGINT       NOT NULL,
  consumer        VARCHAR(64)  CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  event_source    VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  event_id        VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  original        LONGBLOB     NOT NULL,
  corrected       LONGBLOB     NOT NULL,
  reason          VARCHAR(500) NOT NULL,
  actor           VARCHAR(128) NOT NULL,
  at              DATETIME(6)  NOT NULL,
  PRIMARY KEY (id),
  KEY dead_letter_corrections_place (topic, kafka_partition, kafka_offset)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

-- +goose Down
DROP TABLE dead_letter_corrections;
