-- +goose Up
-- A row that an operator gave up: it is never sent, and stays to be seen. At the end of the list, so that no row is
-- rewritten.
ALTER TABLE outbox MODIFY status ENUM('NEW', 'SENT', 'ERROR', 'DISCARDED') NOT NULL DEFAULT 'NEW';

-- +goose Down
ALTER TABLE outbox MODIFY status ENUM('NEW', 'SENT', 'ERROR') NOT NULL DEFAULT 'NEW';
