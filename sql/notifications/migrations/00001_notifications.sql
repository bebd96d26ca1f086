-- +goose Up
-- One row an order: the newest news that its customer was told, and who is telling right now.
CREATE TABLE IF NOT EXISTS conversations (
  order_id      CHAR(36)    CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  version       INT         NOT NULL,
  claim         CHAR(36)    CHARACTER SET ascii COLLATE ascii_bin NULL,
  claimed_until DATETIME(6) NULL,
  PRIMARY KEY (order_id)
) ENGINE = InnoDB;

-- One row an event: claimed before the mail is sent and marked after it.
CREATE TABLE IF NOT EXISTS notifications (
  source         VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  event_id       VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  order_id       CHAR(36)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  order_version  INT          NOT NULL,
  type           VARCHAR(64)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  customer_email VARCHAR(254) NOT NULL,
  status         ENUM('CLAIMED', 'SENT', 'SUPPRESSED') NOT NULL,
  attempts       INT          NOT NULL,
  created_at     DATETIME(6)  NOT NULL,
  sent_at        DATETIME(6)  NULL,
  PRIMARY KEY (event_id, source),
  KEY notifications_order (order_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

-- +goose Down
DROP TABLE notifications;
DROP TABLE conversations;
