package orders

import (
	"context"

	"example.com/orders/sql/bulk"
)

// InsertItems stores all lines of an order by one statement.
func (q *Queries) InsertItems(ctx context.Context, items []InsertItemParams) error {
	return bulk.Insert(ctx, q.db, insertItem, items, func(i InsertItemParams) []any {
		return []any{i.OrderID, i.Sku, i.UnitPrice, i.Quantity}
	})
}
