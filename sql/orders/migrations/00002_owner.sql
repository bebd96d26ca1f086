-- +goose Up
-- owner is the issuer of the customer's tokens, a space and the subject; NULL in orders from before there was a log-in, and in
-- those that somebody placed without one.
ALTER TABLE orders
  ADD COLUMN owner VARCHAR(767) CHARACTER SET ascii COLLATE ascii_bin NULL,
  ADD KEY orders_owner (owner, id);

-- +goose Down
ALTER TABLE orders DROP KEY orders_owner, DROP COLUMN owner;
