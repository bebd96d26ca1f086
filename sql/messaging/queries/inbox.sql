-- DeleteHandledBefore forgets a bounded number of events that were handled before a time, oldest first.
-- name: DeleteHandledBefore :execrows
DELETE FROM inbox WHERE processed_at < ? ORDER BY processed_at LIMIT ?;

-- ListHandled lists which of some events a consumer has handled; an id may be there from several sources.
-- name: ListHandled :many
SELECT source, event_id FROM inbox WHERE event_id IN (sqlc.slice(event_ids)) AND consumer = sqlc.arg(consumer);

-- InsertHandled records that a consumer handles an event that it has not handled before: error 1062 means that it has.
-- InsertAllHandled records many by one statement.
-- name: InsertHandled :exec
INSERT INTO inbox (consumer, source, event_id, processed_at)
VALUES (?, ?, ?, ?);
