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

// SetLevels writes the levels of several SKUs whose rows are locked by one statement.
func (q *Queries) SetLevels(ctx context.Context, rows []SetLevelParams) error {
	return bulk.Insert(ctx, q.db, setLevel, rows, func(r SetLevelParams) []any {
		return []any{r.Sku, r.AvailableQty, r.ReservedQty, r.Version, r.UpdatedAt}
	})
}

// InsertReservations makes the rows of several orders that have none by one statement.
func (q *Queries) InsertReservations(ctx context.Context, rows []InsertReservationParams) error {
	return bulk.Insert(ctx, q.db, insertReservation, rows, func(r InsertReservationParams) []any {
		return []any{r.OrderID, r.CreatedAt, r.UpdatedAt}
	})
}
