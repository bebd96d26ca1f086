package inventory

import (
	"context"

	"example.com/orders/sql/bulk"
)

// InsertReservationLogs records what an event did to several SKUs by one statement.
func (q *Queries) InsertReservationLogs(ctx context.Context, rows []InsertReservationLogParams) error {
	return bulk.Insert(ctx, q.db, insertReservationLog, rows, func(r InsertReservationLogParams) []any {
		return []any{r.Source, r.EventID, r.Sku, r.OrderID, r.DeltaReserved, r.Status, r.CreatedAt}
	})
}
