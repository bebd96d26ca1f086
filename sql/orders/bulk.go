package orders

import (
	"cmp"
	"context"
	"crypto/sha256"
	"strings"

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
			o.CorrelationID, o.CreatedAt, o.UpdatedAt, o.Owner,
		}
	})
}

// LockAllCustomers locks several rows with one statement. To avoid deadlocks the caller sorts them.
func (q *Queries) LockAllCustomers(ctx context.Context, customers []uint16) error {
	return bulk.Insert(ctx, q.db, lockCustomers, customers, func(c uint16) []any { return []any{c} })
}

// InsertOpenOrders notes several new orders with one statement.
func (q *Queries) InsertOpenOrders(ctx context.Context, rows []InsertOpenOrderParams) error {
	return bulk.Insert(ctx, q.db, insertOpenOrder, rows, func(o InsertOpenOrderParams) []any { return []any{o.Customer, o.OrderID} })
}

// CustomerHash returns the hash under which the open orders of a customer are noted: of its owner, and without one of its
// address.
func CustomerHash(owner, email string) []byte {
	hash := sha256.Sum256([]byte(cmp.Or(owner, strings.ToLower(email))))
	return hash[:]
}
