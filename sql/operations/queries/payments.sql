-- InsertPaymentAction records an action on a payment before it is done, at the database's time, and returns the action's id.
-- name: InsertPaymentAction :execlastid
INSERT INTO payment_actions (order_id, action, answer, detail, actor, at) VALUES (?, ?, ?, ?, ?, NOW(6));

-- SetPaymentOutcome records the outcome of an action on a payment.
-- name: SetPaymentOutcome :exec
UPDATE payment_actions SET outcome = ? WHERE id = ?;

-- ListPaymentActions lists the newest actions on the payment of an order, newest first.
-- name: ListPaymentActions :many
SELECT id, order_id, action, answer, detail, actor, at, outcome
FROM payment_actions WHERE order_id = ? ORDER BY id DESC LIMIT ?;

-- ListLastPaymentActions lists the newest actions on payments, newest first.
-- name: ListLastPaymentActions :many
SELECT id, order_id, action, answer, detail, actor, at, outcome
FROM payment_actions ORDER BY id DESC LIMIT ?;
