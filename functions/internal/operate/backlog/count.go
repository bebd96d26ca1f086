package backlog

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/sql/messaging"
)

// Unsent has the numbers of unsent rows by state, and the ages of the oldest ones by the database's clock, zero without
// rows.
type Unsent struct {
	New, Waiting, Parked int64
	OldestDue            time.Duration // of the new and the waiting ones
	OldestParked         time.Duration
}

// Count counts the unsent rows in the outbox of a schema, up to a limit per state.
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
	held, err := q.WatchWaiting(ctx, messaging.WatchWaitingParams{Shards: outbox.AllShards(), Status: messaging.OutboxStatusNEW, Limit: limit})
	if err != nil {
		return Unsent{}, fmt.Errorf("count the new rows of %s that processes hold: %w", schema, err)
	}
	waiting, err := q.WatchWaiting(ctx, messaging.WatchWaitingParams{Shards: outbox.AllShards(), Status: messaging.OutboxStatusERROR, Limit: limit})
	if err != nil {
		return Unsent{}, fmt.Errorf("count the waiting rows of %s: %w", schema, err)
	}
	return Unsent{
		New: min(int64(limit), fresh+held.Waiting), Waiting: waiting.Waiting, Parked: parked,
		OldestDue: max(oldestNew, age(held.AgeMicros), age(waiting.AgeMicros)), OldestParked: oldestParked,
	}, nil
}

// watch counts the rows with a status and without a next attempt, up to a limit, and returns the age of the oldest.
func watch(ctx context.Context, q *messaging.Queries, status messaging.OutboxStatus, limit int32) (n int64, oldest time.Duration, err error) {
	if n, err = q.CountByStatus(ctx, messaging.CountByStatusParams{Status: status, Limit: limit}); err != nil {
		return 0, 0, err
	}
	micros, err := q.OldestByStatus(ctx, status)
	return n, age(micros), err
}

// age returns the age of a row, at least zero: the writer's clock may run ahead.
func age(micros int64) time.Duration { return time.Duration(max(0, micros)) * time.Microsecond }
