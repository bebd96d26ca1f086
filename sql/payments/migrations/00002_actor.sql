-- +goose Up
-- As long as the actors of the schema operations, which are recorded here too.
ALTER TABLE payment_log MODIFY actor VARCHAR(320) NOT NULL;

-- +goose Down
ALTER TABLE payment_log MODIFY actor VARCHAR(128) NOT NULL;
