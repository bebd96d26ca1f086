-- GetStock reads the level of one SKU.
-- name: GetStock :one
SELECT sku, available_qty, reserved_qty, version FROM inventory WHERE sku = ?;

-- ListStock pages through the levels in order of SKU.
-- name: ListStock :many
SELECT sku, available_qty, reserved_qty, version FROM inventory WHERE sku > sqlc.arg(after_sku) ORDER BY sku LIMIT ?;

-- EnsureStock inserts the SKU's row if it is missing, and then affects one row; in any case the row stays locked until the
-- transaction ends.
-- name: EnsureStock :execrows
INSERT INTO inventory (sku, available_qty, reserved_qty, version, updated_at)
VALUES (?, 0, 0, 0, ?)
ON DUPLICATE KEY UPDATE sku = sku;

-- LockStock reads one SKU and locks its row until the transaction ends.
-- name: LockStock :one
SELECT sku, available_qty, reserved_qty, version FROM inventory WHERE sku = ? FOR UPDATE;

-- LockStocks reads SKUs and locks their rows, in order of SKU, until the transaction ends. The index is forced here and
-- wherever rows are locked by a list: on a small table the server would scan, and wait for the rows of others.
-- name: LockStocks :many
SELECT sku, available_qty, reserved_qty, version FROM inventory FORCE INDEX (PRIMARY)
WHERE sku IN (sqlc.slice(skus)) ORDER BY sku FOR UPDATE;

-- AdjustStock changes the available units; it affects no row if too few would remain.
-- name: AdjustStock :execrows
UPDATE inventory
SET available_qty = available_qty + sqlc.arg(delta), version = version + 1, updated_at = sqlc.arg(updated_at)
WHERE sku = sqlc.arg(sku) AND available_qty + sqlc.arg(delta) >= 0;

-- TakeStock moves units from available to reserved, of the n-th SKU the n-th quantity. A SKU with too few violates
-- inventory_available, and nothing is moved; SKUs that do not exist are left out.
-- name: TakeStock :exec
UPDATE inventory FORCE INDEX (PRIMARY)
SET reserved_qty = reserved_qty + CAST(ELT(FIELD(sku, sqlc.slice(skus)), sqlc.slice(quantities)) AS SIGNED),
    available_qty = available_qty - CAST(ELT(FIELD(sku, sqlc.slice(skus)), sqlc.slice(quantities)) AS SIGNED),
    version = version + 1, updated_at = sqlc.arg(updated_at)
WHERE sku IN (sqlc.slice(skus));

-- ReturnStock moves units from reserved to available; it affects no row if fewer are reserved.
-- name: ReturnStock :execrows
UPDATE inventory
SET available_qty = available_qty + sqlc.arg(quantity), reserved_qty = reserved_qty - sqlc.arg(quantity),
    version = version + 1, updated_at = sqlc.arg(updated_at)
WHERE sku = sqlc.arg(sku) AND reserved_qty >= sqlc.arg(quantity);

-- InsertStockLog logs a change of the stocked level; error 1062 means that its idempotency key was used before.
-- name: InsertStockLog :exec
INSERT INTO stock_log (sku, delta, reason, available_after, reserved_after, version_after, created, idempotency_key_hash, request_hash, correlation_id, actor, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- GetStockLogByKey finds the change with an idempotency key.
-- name: GetStockLogByKey :one
SELECT sku, available_after, reserved_after, version_after, created, request_hash, correlation_id
FROM stock_log WHERE idempotency_key_hash = ?;

-- SetLevel writes the level of a SKU whose row is locked; SetLevels writes many with one statement.
-- name: SetLevel :exec
INSERT INTO inventory (sku, available_qty, reserved_qty, version, updated_at)
VALUES (?, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE available_qty = VALUES(available_qty), reserved_qty = VALUES(reserved_qty),
  version = VALUES(version), updated_at = VALUES(updated_at);
