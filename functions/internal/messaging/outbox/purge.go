package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"example.com/orders/sql/messaging"
	"example.com/orders/sql/transaction"
)

// purgeStep is the number of ids per step of the purge: few enough that no writer waits for it.
const purgeStep = 1000

// Purge deletes the rows that were sent before a time and returns their number. It deletes in steps by ranges of the primary
// key, oldest first, and stops at the first range with a newer row. Rows that are not sent stay.
func Purge(ctx context.Context, db *sql.DB, before time.Time) (deleted int64, err error) {
	q := messaging.New(db)
	from, err := q.FirstEvent(ctx)
	for err == nil {
		var last messaging.LastOfRangeRow
		if last, err = q.LastOfRange(ctx, messaging.LastOfRangeParams{ID: from, Limit: purgeStep}); err != nil {
			break
		}
		// READ COMMITTED releases the locks of rows that stay, so no writer waits for the purge.
		var n int64
		err := transaction.Run(ctx, db, func(ctx context.Context, tx *transaction.Tx) (err error) {
			n, err = messaging.New(tx).DeleteSentRange(ctx, messaging.DeleteSentRangeParams{FirstID: from, LastID: last.ID, SentBefore: &before})
			return err
		})
		if err != nil {
			return deleted, fmt.Errorf("purge the outbox rows %d to %d: %w", from, last.ID, err)
		}
		deleted += n
		if !last.CreatedAt.Before(before) {
			return deleted, nil
		}
		from = last.ID + 1
	}
	if errors.Is(err, sql.ErrNoRows) {
		return deleted, nil
	}
	return deleted, fmt.Errorf("walk through the outbox: %w", err)
}
