-- OpenMailCount inserts the row of an address if it is missing; the row stays locked until the transaction ends.
-- OpenMailCounts opens many with one statement, in the order given.
-- name: OpenMailCount :exec
INSERT INTO mail_counts (address, begun_at, mails)
VALUES (?, ?, 0)
ON DUPLICATE KEY UPDATE address = address;

-- ListMailCounts reads the rows of addresses.
-- name: ListMailCounts :many
SELECT address, begun_at, mails FROM mail_counts FORCE INDEX (PRIMARY) WHERE address IN (sqlc.slice(addresses));

-- SetMailCount changes the row of an address; SetMailCounts changes many with one statement.
-- name: SetMailCount :exec
INSERT INTO mail_counts (address, begun_at, mails)
VALUES (?, ?, ?)
ON DUPLICATE KEY UPDATE begun_at = VALUES(begun_at), mails = VALUES(mails);

-- ForgetMailCount removes what is counted about an address.
-- name: ForgetMailCount :exec
DELETE FROM mail_counts WHERE address = ?;
