-- ListEndedFrom pages through the orders with an id between two bounds, without these, in order of id: ids sort by time.
-- known is whether an order still says who its customer is.
-- name: ListEndedFrom :many
SELECT id, status, updated_at, CAST(customer_email <> sqlc.arg(forgotten) AS SIGNED) AS known
FROM orders FORCE INDEX (PRIMARY) WHERE id > sqlc.arg(after_id) AND id < sqlc.arg(before_id) ORDER BY id LIMIT ?;

-- ForgetOrders removes from ended orders what tells who the customer is, or was chosen by the customer: the address, the owner, the
-- idempotency key, the hash of the request, and the correlation id. What was ordered, and when, stays.
-- name: ForgetOrders :execrows
UPDATE orders FORCE INDEX (PRIMARY)
SET customer_email = sqlc.arg(forgotten), owner = NULL, idempotency_key_hash = NULL, request_hash = REPEAT(CHAR(0), 32), correlation_id = id
WHERE id IN (sqlc.slice(ids)) AND status <> 'PENDING';
