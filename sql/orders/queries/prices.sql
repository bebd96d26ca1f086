-- GetPrice reads the price of a SKU.
-- name: GetPrice :one
SELECT sku, unit_price, currency, updated_at FROM prices WHERE sku = ?;

-- ListPrices pages through the prices, by SKU.
-- name: ListPrices :many
SELECT sku, unit_price, currency, updated_at FROM prices WHERE sku > sqlc.arg(after_sku) ORDER BY sku LIMIT ?;

-- ListPricesOf reads the prices of SKUs.
-- name: ListPricesOf :many
SELECT sku, unit_price, currency FROM prices WHERE sku IN (sqlc.slice(skus));

-- InsertPrice gives a SKU its first price; error 1062 means that it has one.
-- name: InsertPrice :exec
INSERT INTO prices (sku, unit_price, currency, updated_at) VALUES (?, ?, ?, ?);

-- SetPrice gives a SKU a price, and affects one row if it is its first one.
-- name: SetPrice :execrows
INSERT INTO prices (sku, unit_price, currency, updated_at) VALUES (?, ?, ?, ?)
ON DUPLICATE KEY UPDATE unit_price = VALUES(unit_price), currency = VALUES(currency), updated_at = VALUES(updated_at);

-- InsertPriceLog logs a price that was set.
-- name: InsertPriceLog :exec
INSERT INTO price_log (sku, unit_price, currency, actor, correlation_id, created_at) VALUES (?, ?, ?, ?, ?, ?);
