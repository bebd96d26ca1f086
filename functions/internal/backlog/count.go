package backlog

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"example.com/orders/sql/messaging"
)

// Unsent is how much of an outbox is not sent, by the state of the rows, and how old the oldest of them are by the
// database's clock: zero when there are none.
type Unsent struct {
	New, Waiting, Parked int64
	OldestDue            time.Duration // of those that are new or wait
	OldestParked         time.Duration
}

// Count counts what is not sent of the outbox of a schema: the new rows up to a limit, and those that were refused up to
// the same limit.
func Count(ctx context.Context, db *sql.DB, schema string, limit int32) (Unsent, error) {
	q := messaging.New(db)
	fresh, err := q.CountNew(ctx, limit)
	if err != nil {
		return Unsent{}, fmt.Errorf("count the new rows of %s: %w", schema, err)
	}
	age, err := q.OldestNew(ctx)
	if err != nil {
		return Unsent{}, fmt.Errorf("look for the oldest new row of %s: %w", schema, err)
	}
	refused, err := q.WatchRefused(ctx, limit)
	if err != nil {
		return Unsent{}, fmt.Errorf("count the refused rows of %s: %w", schema, err)
	}
	return Unsent{
		New: fresh, Waiting: refused.Refused - refused.Parked, Parked: refused.Parked,
		OldestDue:    time.Duration(max(0, age, refused.WaitingAgeMicros)) * time.Microsecond,
		OldestParked: time.Duration(max(0, refused.ParkedAgeMicros)) * time.Microsecond,
	}, nil
}
