-- +goose Up
-- Who removed the personal data of a customer, when, and how much of it: never whose. It is written before the first row is
-- changed, and outcome after the last one: an action without one was not finished, and can be repeated. orders is the number of
-- the customer's orders that still said who placed them.
CREATE TABLE IF NOT EXISTS forget_actions (
  id      BIGINT       NOT NULL AUTO_INCREMENT,
  known   ENUM('EMAIL', 'OWNER') NOT NULL,
  orders  BIGINT       NOT NULL,
  detail  VARCHAR(500) NOT NULL,
  actor   VARCHAR(320) NOT NULL,
  at      DATETIME(6)  NOT NULL,
  outcome VARCHAR(500) NULL,
  PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

-- +goose Down
DROP TABLE forget_actions;
