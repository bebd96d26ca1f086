-- +goose Up
-- Every price that was set, and by whom: the issuer of the token, a space and its subject, or "anonymous" without a log-in.
CREATE TABLE IF NOT EXISTS price_log (
  id             BIGINT       NOT NULL AUTO_INCREMENT,
  sku            VARCHAR(64)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  unit_price     BIGINT       NOT NULL,
  currency       CHAR(3)      CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  actor          VARCHAR(767) NOT NULL,
  correlation_id VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  created_at     DATETIME(6)  NOT NULL,
  PRIMARY KEY (id),
  KEY price_log_sku (sku, id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

-- +goose Down
DROP TABLE price_log;
