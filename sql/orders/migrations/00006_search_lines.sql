-- +goose Up
ALTER TABLE order_items ADD KEY order_items_sku (sku, id);

-- +goose Down
ALTER TABLE order_items DROP KEY order_items_sku;
