-- +goose Up
-- Who changed the level: the issuer of the token, a space and its subject, or "anonymous" without a log-in; NULL in changes
-- from before this was recorded.
ALTER TABLE stock_log ADD COLUMN actor VARCHAR(767) NULL;

-- +goose Down
ALTER TABLE stock_log DROP COLUMN actor;
