package inventory

import (
	"context"
	"database/sql"

	"example.com/orders/sql/bulk"
	"example.com/orders/sql/transaction"
)

// InsertReservationLogs logs the effect of an event on several SKUs with one statement.
func (q *Queries) InsertReservationLogs(ctx context.Context, rows []InsertReservationLogParams) error {
	return bulk.Insert(ctx, q.db, insertReservationLog, rows, func(r InsertReservationLogParams) []any {
		return []any{r.Source, r.EventID, r.Sku, r.OrderID, r.DeltaReserved, r.Status, r.CreatedAt}
	})
}

// SetLevels writes the levels of several SKUs, whose rows are locked, with one statement.
func (q *Queries) SetLevels(ctx context.Context, rows []SetLevelParams) error {
	return bulk.Insert(ctx, q.db, setLevel, rows, func(r SetLevelParams) []any {
		return []any{r.Sku, r.AvailableQty, r.ReservedQty, r.Version, r.UpdatedAt}
	})
}

// OpenReservations ensures with one statement that several orders have their rows.
func (q *Queries) OpenReservations(ctx context.Context, rows []OpenReservationParams) error {
	return bulk.Insert(ctx, q.db, openReservation, rows, func(r OpenReservationParams) []any {
		return []any{r.OrderID, r.CreatedAt, r.UpdatedAt}
	})
}

// LockReservationsAndStocks is LockReservations followed by LockStocks, in one round trip.
func (q *Queries) LockReservationsAndStocks(ctx context.Context, orderIDs, skus []string) (reservations []LockReservationsRow, stocks []LockStocksRow, err error) {
	both := []transaction.Query{
		transaction.QueryIn(lockReservations, "order_ids", orderIDs), transaction.QueryIn(lockStocks, "skus", skus),
	}
	err = transaction.QueryTogether(ctx, q.db, both, func(n int, rows *sql.Rows) error {
		for rows.Next() {
			if n == 0 {
				var r LockReservationsRow
				if err := rows.Scan(&r.OrderID, &r.Status); err != nil {
					return err
				}
				reservations = append(reservations, r)
				continue
			}
			var s LockStocksRow
			if err := rows.Scan(&s.Sku, &s.AvailableQty, &s.ReservedQty, &s.Version); err != nil {
				return err
			}
			stocks = append(stocks, s)
		}
		return nil
	})
	return reservations, stocks, err
}
