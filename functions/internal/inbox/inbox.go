// Package inbox gives an event its effect once, however often it is delivered. Events go in at least once; their
// effects come out exactly once, since the record of the event commits with them.
package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/functions/internal/outbox"
	"example.com/orders/sql/messaging"
)

// errHandled ends the transaction of an event that was handled before.
var errHandled = errors.New("handled before")

// Once runs work, in a transaction with the record that consumer handled e, unless that record exists. It tells
// whether e was a duplicate, and which shards of the outbox have new rows. An event is known by its source and its
// id together, as CloudEvents has it. When the same event is handled twice at the same time, the second waits for the
// first to commit or to fail.
func Once(ctx context.Context, db *sql.DB, consumer string, e event.Event, now func() time.Time, work outbox.Work) (duplicate bool, shards []uint8, err error) {
	shards, err = outbox.Transact(ctx, db, now, func(ctx context.Context, tx *sql.Tx) ([]event.Event, error) {
		inserted, err := messaging.New(tx).InsertHandled(ctx, messaging.InsertHandledParams{
			Consumer: consumer, Source: e.Source(), EventID: e.ID(), ProcessedAt: now(),
		})
		if err != nil {
			return nil, fmt.Errorf("record event %s in the inbox: %w", e.ID(), err)
		}
		if inserted == 0 {
			return nil, errHandled
		}
		return work(ctx, tx)
	})
	if errors.Is(err, errHandled) {
		return true, nil, nil
	}
	return false, shards, err
}
