package releasestock

import (
	"context"
	"fmt"

	"example.com/orders/sql/inventory"
)

// purgeStep bounds the orders of one query, purgeSteps the queries of one tick.
const (
	purgeStep  = 500
	purgeSteps = 20
)

// purge walks through the reservations in order of id and deletes the log of orders that have held nothing for longer than
// the retention. The rows of such a log sum to zero, so the sums of the rest do not change. Each tick continues where the
// last one stopped, and starts over at the end.
func (f *Function) purge(ctx context.Context) (count int, err error) {
	q := inventory.New(f.DB)
	cutoff := f.Now().Add(-f.Retention)
	after := ""
	if at := f.purged.Load(); at != nil {
		after = *at
	}
	for range purgeSteps {
		rows, err := q.ListReservations(ctx, inventory.ListReservationsParams{AfterOrderID: after, Limit: purgeStep})
		if err != nil {
			return count, fmt.Errorf("list reservations to purge: %w", err)
		}
		for _, row := range rows {
			after = row.OrderID
			settled := row.Status == inventory.ReservationsStatusREJECTED || row.Status == inventory.ReservationsStatusRELEASED
			if !settled || !row.UpdatedAt.Before(cutoff) {
				continue
			}
			deleted, err := q.DeleteReservationLog(ctx, row.OrderID)
			if err != nil {
				return count, fmt.Errorf("purge the reservation log of order %s: %w", row.OrderID, err)
			}
			if deleted > 0 {
				count++
			}
		}
		if len(rows) < purgeStep {
			after = ""
			break
		}
	}
	f.purged.Store(&after)
	return count, nil
}
