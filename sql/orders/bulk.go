package orders

import (
	"context"

	"example.com/orders/sql/bulk"
)

// InsertItems stores all lines of an order with one statement.
func (q *Queries) InsertItems(ctx context.Context, items []InsertItemParams) error {
	return bulk.Insert(ctx, q.db, insertItem, items, func(i InsertItemParams) []any {
		return []any{i.OrderID, i.Sku, i.UnitPrice, i.Quantity}
	})
}

// InsertOrders stores several new orders with one statement; error 1062 means that the idempotency key of one of them was
// used before.
func (q *Queries) InsertOrders(ctx context.Context, rows []InsertOrderParams) error {
	return bulk.Insert(ctx, q.db, insertOrder, rows, func(o InsertOrderParams) []any {
		return []any{
			o.ID, o.CustomerEmail, o.Status, o.TotalAmount, o.Currency, o.Version, o.IdempotencyKeyHash, o.RequestHash,
			o.CorrelationID, o.CreatedAt, o.UpdatedAt,
		}
	})
}
