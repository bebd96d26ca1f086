-- InsertOutboxAction records an action on a row before it is done, at the database's time, and returns the action's id.
-- name: InsertOutboxAction :execlastid
INSERT INTO outbox_actions (schema_name, row_id, action, detail, actor, at) VALUES (?, ?, ?, ?, ?, NOW(6));

-- SetOutboxOutcome records the outcome of an action.
-- name: SetOutboxOutcome :exec
UPDATE outbox_actions SET outcome = ? WHERE id = ?;

-- ListOutboxActions lists the actions on one row, oldest first.
-- name: ListOutboxActions :many
SELECT id, schema_name, row_id, action, detail, actor, at, outcome
FROM outbox_actions
WHERE schema_name = ? AND row_id = ?
ORDER BY id;
