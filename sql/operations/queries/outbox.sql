-- InsertOutboxAction records what is about to be done to a row, at the time of the database, and returns the action's
-- id.
-- name: InsertOutboxAction :execlastid
INSERT INTO outbox_actions (schema_name, row_id, action, detail, actor, at) VALUES (?, ?, ?, ?, ?, NOW(6));

-- SetOutboxOutcome records what came of an action.
-- name: SetOutboxOutcome :exec
UPDATE outbox_actions SET outcome = ? WHERE id = ?;

-- ListOutboxActions lists the actions about one row, from the oldest on.
-- name: ListOutboxActions :many
SELECT id, schema_name, row_id, action, detail, actor, at, outcome
FROM outbox_actions
WHERE schema_name = ? AND row_id = ?
ORDER BY id;
