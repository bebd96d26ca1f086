package releasestock

import (
	"context"
	"fmt"

	"example.com/orders/sql/inventory"
)

// How many orders one step of the purge reads, and how many steps there are at a tick.
const (
	purgeStep  = 500
	purgeSteps = 20
)

// purge walks on through the reservations, oldest order first, and deletes the log of orders that have held nothing
// since before the retention: their rows add up to nothing, so the sums of what is left do not change. Each tick goes
// on where the one before has ended, and starts again when it has come through.
func (f *Function) purge(ctx context.Context) (forgotten int, err error) {
	q := inventory.New(f.DB)
	cutoff := f.Now().Add(-f.Retention)
	after := ""
	if at := f.purged.Load(); at != nil {
		after = *at
	}
	for range purgeSteps {
		rows, err := q.ListReservations(ctx, inventory.ListReservationsParams{AfterOrderID: after, Limit: purgeStep})
		if err != nil {
			return forgotten, fmt.Errorf("look for reservation logs to forget: %w", err)
		}
		for _, row := range rows {
			after = row.OrderID
			settled := row.Status == inventory.ReservationsStatusREJECTED || row.Status == inventory.ReservationsStatusRELEASED
			if !settled || !row.UpdatedAt.Before(cutoff) {
				continue
			}
			deleted, err := q.DeleteReservationLog(ctx, row.OrderID)
			if err != nil {
				return forgotten, fmt.Errorf("forget the reservation log of order %s: %w", row.OrderID, err)
			}
			if deleted > 0 {
				forgotten++
			}
		}
		if len(rows) < purgeStep {
			after = ""
			break
		}
	}
	f.purged.Store(&after)
	return forgotten, nil
}
