-- +goose Up
-- The longest actor is a subject of OpenID Connect, of 255 characters, with the address of the client.
ALTER TABLE dead_letter_actions MODIFY actor VARCHAR(320) NOT NULL;
ALTER TABLE outbox_actions MODIFY actor VARCHAR(320) NOT NULL;
ALTER TABLE dead_letter_corrections MODIFY actor VARCHAR(320) NOT NULL;
ALTER TABLE payment_actions MODIFY actor VARCHAR(320) NOT NULL;

-- +goose Down
ALTER TABLE payment_actions MODIFY actor VARCHAR(128) NOT NULL;
ALTER TABLE dead_letter_corrections MODIFY actor VARCHAR(128) NOT NULL;
ALTER TABLE outbox_actions MODIFY actor VARCHAR(128) NOT NULL;
ALTER TABLE dead_letter_actions MODIFY actor VARCHAR(128) NOT NULL;
