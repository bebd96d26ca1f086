-- +goose Up
CREATE TABLE IF NOT EXISTS orders (
  id                   CHAR(36)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  customer_email       VARCHAR(254) NOT NULL,
  status               ENUM('PENDING', 'CONFIRMED', 'FAILED', 'CANCELED') NOT NULL,
  total_amount         BIGINT       NOT NULL,
  currency             CHAR(3)      CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  version              INT          NOT NULL,
  idempotency_key_hash BINARY(32)   NULL,
  request_hash         BINARY(32)   NOT NULL,
  correlation_id       VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  failure_reason       VARCHAR(64)  CHARACTER SET ascii COLLATE ascii_bin NULL,
  created_at           DATETIME(6)  NOT NULL,
  updated_at           DATETIME(6)  NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY orders_idempotency_key (idempotency_key_hash),
  KEY orders_status (status, id),
  CONSTRAINT orders_total_amount CHECK (total_amount BETWEEN 0 AND 9007199254740991)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

CREATE TABLE IF NOT EXISTS order_items (
  id         BIGINT      NOT NULL AUTO_INCREMENT,
  order_id   CHAR(36)    CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  sku        VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  unit_price BIGINT      NOT NULL,
  quantity   BIGINT      NOT NULL,
  PRIMARY KEY (id),
  KEY order_items_order (order_id, id),
  CONSTRAINT order_items_order FOREIGN KEY (order_id) REFERENCES orders (id),
  CONSTRAINT order_items_unit_price CHECK (unit_price >= 0),
  CONSTRAINT order_items_quantity CHECK (quantity > 0)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

-- +goose Down
DROP TABLE order_items;
DROP TABLE orders;
