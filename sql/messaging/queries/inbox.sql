-- DeleteHandledBefore deletes a bounded number of records of events handled before a time, oldest first.
-- name: DeleteHandledBefore :execrows
DELETE FROM inbox WHERE processed_at < ? ORDER BY processed_at LIMIT ?;

-- ListHandled lists which of some events a consumer has handled; an id may occur with several sources.
-- name: ListHandled :many
SELECT source, event_id FROM inbox WHERE event_id IN (sqlc.slice(event_ids)) AND consumer = sqlc.arg(consumer);

-- InsertHandled records that a consumer handles an event for the first time: error 1062 means that it is a duplicate.
-- InsertAllHandled records many with one statement.
-- name: InsertHandled :exec
INSERT INTO inbox (consumer, source, event_id, processed_at)
VALUES (?, ?, ?, ?);
