package inbox

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/functions/internal/outbox"
	"example.com/orders/sql/messaging"
)

// purgeStep is how many rows one statement of the purge deletes: few enough that no writer waits for it.
const purgeStep = 500

// Purge forgets the events that were handled before a time, oldest first, and returns how many.
func Purge(ctx context.Context, db *sql.DB, before time.Time) (deleted int64, err error) {
	for {
		// At READ COMMITTED, which locks no gap that an event being handled would be recorded in.
		var n int64
		_, err := outbox.Transact(ctx, db, time.Now, func(ctx context.Context, tx *sql.Tx) (_ []event.Event, err error) {
			n, err = messaging.New(tx).DeleteHandledBefore(ctx, messaging.DeleteHandledBeforeParams{ProcessedAt: before, Limit: purgeStep})
			return nil, err
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
