-- +goose Up
-- Reserving moves units from available_qty to reserved_qty; only restocking changes their sum.
-- version counts the changes of the row and is the entity tag of the API.
CREATE TABLE IF NOT EXISTS inventory (
  sku           VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  available_qty BIGINT      NOT NULL,
  reserved_qty  BIGINT      NOT NULL,
  version       BIGINT      NOT NULL,
  updated_at    DATETIME(6) NOT NULL,
  PRIMARY KEY (sku),
  CONSTRAINT inventory_available CHECK (available_qty >= 0),
  CONSTRAINT inventory_reserved CHECK (reserved_qty >= 0)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

-- Every change of the stocked level: available_qty + reserved_qty is the sum of delta. The levels after the
-- change are the answer that a repeated request gets again.
CREATE TABLE IF NOT EXISTS stock_log (
  id                   BIGINT       NOT NULL AUTO_INCREMENT,
  sku                  VARCHAR(64)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  delta                BIGINT       NOT NULL,
  reason               VARCHAR(64)  NOT NULL,
  available_after      BIGINT       NOT NULL,
  reserved_after       BIGINT       NOT NULL,
  version_after        BIGINT       NOT NULL,
  created              BOOLEAN      NOT NULL,
  idempotency_key_hash BINARY(32)   NULL,
  request_hash         BINARY(32)   NULL,
  correlation_id       VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  created_at           DATETIME(6)  NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY stock_log_idempotency_key (idempotency_key_hash),
  KEY stock_log_sku (sku)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

-- The row on which reserving and releasing an order meet: whoever comes second sees what the first has done.
-- version counts the order's facts of this service.
CREATE TABLE IF NOT EXISTS reservations (
  order_id   CHAR(36)    CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  status     ENUM('PENDING', 'RESERVED', 'REJECTED', 'RELEASED') NOT NULL,
  version    INT         NOT NULL,
  created_at DATETIME(6) NOT NULL,
  updated_at DATETIME(6) NOT NULL,
  PRIMARY KEY (order_id)
) ENGINE = InnoDB;

-- What each event did to each SKU's reserved units. reserved_qty of a SKU is the sum of delta_reserved.
CREATE TABLE IF NOT EXISTS reservation_log (
  source         VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  event_id       VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  sku            VARCHAR(64)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  order_id       CHAR(36)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  delta_reserved BIGINT       NOT NULL,
  status         ENUM('RESERVED', 'REJECTED', 'RELEASED') NOT NULL,
  created_at     DATETIME(6)  NOT NULL,
  PRIMARY KEY (event_id, sku, source),
  KEY reservation_log_order (order_id)
) ENGINE = InnoDB;

-- +goose Down
DROP TABLE reservation_log;
DROP TABLE reservations;
DROP TABLE stock_log;
DROP TABLE inventory;
