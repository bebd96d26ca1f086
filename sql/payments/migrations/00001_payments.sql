-- +goose Up
-- The row on which authorizing and refunding an order meet: whoever comes second sees what the first has done.
-- While the status is REQUESTED or REFUND_REQUESTED, the outcome at the gateway is unknown: the row is a request that is
-- asked about again at next_attempt_at, until the answer is recorded. reference is the gateway's name of the authorization,
-- reason why it was declined or is refunded, version the number of the order's facts of this service. items and cause are
-- what the next fact needs. settled is whether an operator, not the gateway, has said what became of the last request. No
-- transaction commits the status PENDING.
CREATE TABLE IF NOT EXISTS payments (
  order_id        CHAR(36)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  status          ENUM('PENDING', 'REQUESTED', 'AUTHORIZED', 'DECLINED', 'REFUND_REQUESTED', 'REFUNDED', 'VOID') NOT NULL,
  amount          BIGINT       NOT NULL,
  currency        CHAR(3)      CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  reference       VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NULL,
  reason          VARCHAR(64)  CHARACTER SET ascii COLLATE ascii_bin NULL,
  attempts        INT          NOT NULL,
  last_error      VARCHAR(512) NULL,
  settled         BOOLEAN      NOT NULL DEFAULT FALSE,
  version         INT          NOT NULL,
  items           TEXT         NOT NULL,
  cause           TEXT         NOT NULL,
  requested_at    DATETIME(6)  NOT NULL,
  next_attempt_at DATETIME(6)  NULL,
  created_at      DATETIME(6)  NOT NULL,
  updated_at      DATETIME(6)  NOT NULL,
  PRIMARY KEY (order_id),
  KEY payments_due (status, next_attempt_at),
  KEY payments_requested (status, requested_at),
  CONSTRAINT payments_amount CHECK (amount BETWEEN 0 AND 9007199254740991)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

-- Every change of the money that is held for an order: the sum of amount is what the gateway holds now. reference is the
-- gateway's name of the authorization or the refund, actor the function or the operator that recorded the change.
CREATE TABLE IF NOT EXISTS payment_log (
  id         BIGINT       NOT NULL AUTO_INCREMENT,
  order_id   CHAR(36)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  entry      ENUM('AUTHORIZED', 'DECLINED', 'REFUNDED', 'VOID') NOT NULL,
  amount     BIGINT       NOT NULL,
  currency   CHAR(3)      CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  reference  VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NULL,
  reason     VARCHAR(64)  CHARACTER SET ascii COLLATE ascii_bin NULL,
  actor      VARCHAR(128) NOT NULL,
  created_at DATETIME(6)  NOT NULL,
  PRIMARY KEY (id),
  KEY payment_log_order (order_id, id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

-- +goose Down
DROP TABLE payment_log;
DROP TABLE payments;
