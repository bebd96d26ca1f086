-- +goose Up
-- What operators search for: a customer's address and a flow, and a SKU in the next migration. The end of an id, which is what
-- lists show of an order, has no index: every new order would change another page of it.
ALTER TABLE orders ADD KEY orders_customer (customer_email, id), ADD KEY orders_flow (correlation_id, id);

-- +goose Down
ALTER TABLE orders DROP KEY orders_flow, DROP KEY orders_customer;
