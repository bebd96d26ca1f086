package backlog

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/sql/messaging"
)

// Unsent is how much of an outbox is not sent, by the state of the rows, and how old the oldest of them are by the
// database's clock: zero when there are none.
type Unsent struct {
	New, Waiting, Parked int64
	OldestDue            time.Duration // of those that are new or wait
	OldestParked         time.Duration
}

// Count counts what is not sent of the outbox of a schema, the rows of each state up to a limit.
func Count(ctx context.Context, db *sql.DB, schema string, limit int32) (Unsent, error) {
	q := messaging.New(db)
	fresh, oldestNew, err := watch(ctx, q, messaging.OutboxStatusNEW, limit)
	if err != nil {
		return Unsent{}, fmt.Errorf("count the new rows of %s: %w", schema, err)
	}
	parked, oldestParked, err := watch(ctx, q, messaging.OutboxStatusERROR, limit)
	if err != nil {
		return Unsent{}, fmt.Errorf("count the parked rows of %s: %w", schema, err)
	}
	waiting, err := q.WatchWaiting(ctx, messaging.WatchWaitingParams{Shards: outbox.AllShards(), Limit: limit})
	if err != nil {
		return Unsent{}, fmt.Errorf("count the waiting rows of %s: %w", schema, err)
	}
	return Unsent{
		New: fresh, Waiting: waiting.Waiting, Parked: parked,
		OldestDue: max(oldestNew, age(waiting.AgeMicros)), OldestParked: oldestParked,
	}, nil
}

// watch counts the rows of a status that have no next attempt, up to a limit, and returns the age of the oldest.
func watch(ctx context.Context, q *messaging.Queries, status messaging.OutboxStatus, limit int32) (n int64, oldest time.Duration, err error) {
	if n, err = q.CountByStatus(ctx, messaging.CountByStatusParams{Status: status, Limit: limit}); err != nil {
		return 0, 0, err
	}
	micros, err := q.OldestByStatus(ctx, status)
	return n, age(micros), err
}

// age is that of a row which the clock of its writer, running ahead, may have dated in the future.
func age(micros int64) time.Duration { return time.Duration(max(0, micros)) * time.Microsecond }
