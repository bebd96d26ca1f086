-- +goose Up
-- What operators did about payments with an unknown outcome. It is written before the payment is changed, and outcome after
-- it: an action without one may or may not have been done, and can be repeated. answer is what the operator knows of the
-- gateway: its status, with the gateway's reference or the reason of a decline. order_id is NULL when all payments were meant.
CREATE TABLE IF NOT EXISTS payment_actions (
  id       BIGINT       NOT NULL AUTO_INCREMENT,
  order_id CHAR(36)     CHARACTER SET ascii COLLATE ascii_bin NULL,
  action   ENUM('SETTLE', 'RETRY') NOT NULL,
  answer   VARCHAR(200) NOT NULL,
  detail   VARCHAR(500) NOT NULL,
  actor    VARCHAR(128) NOT NULL,
  at       DATETIME(6)  NOT NULL,
  outcome  VARCHAR(500) NULL,
  PRIMARY KEY (id),
  KEY payment_actions_order (order_id, id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

-- +goose Down
DROP TABLE payment_actions;
