-- InsertForgetAction records that the personal data of a customer is about to be removed, at the database's time, and returns
-- the action's id.
-- name: InsertForgetAction :execlastid
INSERT INTO forget_actions (known, orders, detail, actor, at) VALUES (?, ?, ?, ?, NOW(6));

-- SetForgetOutcome records how much was removed.
-- name: SetForgetOutcome :exec
UPDATE forget_actions SET outcome = ? WHERE id = ?;
