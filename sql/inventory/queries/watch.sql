-- WatchStock counts the SKUs, the sold-out ones, the ones with at most some available units, and the units.
-- name: WatchStock :one
SELECT COUNT(*) AS skus, CAST(COALESCE(SUM(available_qty = 0), 0) AS SIGNED) AS sold_out,
  CAST(COALESCE(SUM(available_qty BETWEEN 1 AND sqlc.arg(few)), 0) AS SIGNED) AS low,
  CAST(COALESCE(SUM(available_qty), 0) AS SIGNED) AS available, CAST(COALESCE(SUM(reserved_qty), 0) AS SIGNED) AS reserved
FROM inventory;
