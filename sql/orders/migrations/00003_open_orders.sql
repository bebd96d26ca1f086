-- +goose Up
-- The open orders of each customer, with the SHA-256 of its owner or address (orders.CustomerHash). It is an index that
-- create-order keeps by hand, and only while MAX_OPEN_ORDERS limits them, since one of the orders would be paid for by every
-- order: what is in it counts only as long as the order is PENDING, and the customer's next order removes the rest.
CREATE TABLE IF NOT EXISTS open_orders (
  customer BINARY(32) NOT NULL,
  order_id CHAR(36)   CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  PRIMARY KEY (customer, order_id)
) ENGINE = InnoDB;

-- Rows to lock while a customer's open orders are counted and another one is stored. Many customers share one, by the first
-- two bytes of their hashes: it says nothing about anybody, and there are at most 65536.
CREATE TABLE IF NOT EXISTS open_order_locks (
  customers SMALLINT UNSIGNED NOT NULL,
  PRIMARY KEY (customers)
) ENGINE = InnoDB;

-- +goose Down
DROP TABLE open_order_locks;
DROP TABLE open_orders;
