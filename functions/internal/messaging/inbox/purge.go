package inbox

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"example.com/orders/sql/messaging"
	"example.com/orders/sql/transaction"
)

// purgeStep is the number of rows per statement of the purge: few enough that no writer waits for it.
const purgeStep = 500

// Purge deletes the records of events that were handled before a time, oldest first, and returns their number.
func Purge(ctx context.Context, db *sql.DB, before time.Time) (deleted int64, err error) {
	for {
		// READ COMMITTED locks no gap into which a concurrent event would be recorded.
		var n int64
		err := transaction.Run(ctx, db, func(ctx context.Context, tx *transaction.Tx) (err error) {
			n, err = messaging.New(tx).DeleteHandledBefore(ctx, messaging.DeleteHandledBeforeParams{ProcessedAt: before, Limit: purgeStep})
			return err
		})
		if err != nil {
			return deleted, fmt.Errorf("purge the inbox: %w", err)
		}
		deleted += n
		if n < purgeStep {
			return deleted, nil
		}
	}
}
