-- GetStock reads the level of one SKU.
-- name: GetStock :one
SELECT sku, available_qty, reserved_qty, version FROM inventory WHERE sku = ?;

-- ListStock pages through the levels in the order of their SKUs.
-- name: ListStock :many
SELECT sku, available_qty, reserved_qty, version FROM inventory WHERE sku > sqlc.arg(after_sku) ORDER BY sku LIMIT ?;

-- EnsureStock makes sure that the SKU has a row, and affects one row when it had none; either way the row stays
-- locked until the transaction ends.
-- name: EnsureStock :execrows
INSERT INTO inventory (sku, available_qty, reserved_qty, version, updated_at)
VALUES (?, 0, 0, 0, ?)
ON DUPLICATE KEY UPDATE sku = sku;

-- LockStock reads one SKU and keeps its row until the transaction ends.
-- name: LockStock :one
SELECT sku, available_qty, reserved_qty, version FROM inventory WHERE sku = ? FOR UPDATE;

-- LockStocks reads SKUs and keeps their rows, taken in the order of the SKUs, until the transaction ends. The index is
-- forced here and wherever rows are locked by a list: a small table would be scanned, and wait for the rows of others.
-- name: LockStocks :many
SELECT sku, available_qty, reserved_qty, version FROM inventory FORCE INDEX (PRIMARY)
WHERE sku IN (sqlc.slice(skus)) ORDER BY sku FOR UPDATE;

-- AdjustStock changes the units that are free; it affects no row when too few would remain.
-- name: AdjustStock :execrows
UPDATE inventory
SET available_qty = available_qty + sqlc.arg(delta), version = version + 1, updated_at = sqlc.arg(updated_at)
WHERE sku = sqlc.arg(sku) AND available_qty + sqlc.arg(delta) >= 0;

-- ReturnStock moves units from reserved to free; it affects no row when fewer are reserved.
-- name: ReturnStock :execrows
UPDATE inventory
SET available_qty = available_qty + sqlc.arg(quantity), reserved_qty = reserved_qty - sqlc.arg(quantity),
    version = version + 1, updated_at = sqlc.arg(updated_at)
WHERE sku = sqlc.arg(sku) AND reserved_qty >= sqlc.arg(quantity);

-- InsertStockLog records a change of the stocked level; error 1062 means that its idempotency key was used before.
-- name: InsertStockLog :exec
INSERT INTO stock_log (sku, delta, reason, available_after, reserved_after, version_after, created, idempotency_key_hash, request_hash, correlation_id, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- GetStockLogByKey finds the change that an idempotency key made.
-- name: GetStockLogByKey :one
SELECT sku, available_after, reserved_after, version_after, created, request_hash, correlation_id
FROM stock_log WHERE idempotency_key_hash = ?;

-- SetLevel writes the level of a SKU whose row is locked; SetLevels writes many by one statement.
-- name: SetLevel :exec
INSERT INTO inventory (sku, available_qty, reserved_qty, version, updated_at)
VALUES (?, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE available_qty = VALUES(available_qty), reserved_qty = VALUES(reserved_qty),
  version = VALUES(version), updated_at = VALUES(updated_at);
