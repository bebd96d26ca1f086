// Package inbox gives an event its effect once, however often it is delivered. Events go in at least once; their
// effects come out exactly once, since the record of the event commits with them.
package inbox

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/functions/internal/failpoint"
	"example.com/orders/functions/internal/outbox"
	"example.com/orders/sql/messaging"
	"example.com/orders/sql/schema"
)

// errHandled ends the transaction of an event that was handled before.
var errHandled = errors.New("handled before")

// Once runs work, in a transaction with the record that consumer handled e, unless that record exists. It tells
// whether e was a duplicate, and which shards of the outbox have new rows. An event is known by its source and its
// id together, as CloudEvents has it. When the same event is handled twice at the same time, the second waits for the
// first to commit or to fail.
func Once(ctx context.Context, db *sql.DB, consumer string, e event.Event, now func() time.Time, work outbox.Work) (duplicate bool, shards []uint8, err error) {
	shards, err = outbox.Transact(failpoint.In(ctx, consumer), db, now, func(ctx context.Context, tx *sql.Tx) ([]event.Event, error) {
		fresh, err := record(ctx, messaging.New(tx), consumer, e, now())
		if err != nil {
			return nil, err
		}
		if !fresh {
			return nil, errHandled
		}
		return work(ctx, tx)
	})
	if errors.Is(err, errHandled) {
		return true, nil, nil
	}
	return false, shards, err
}

// record records that consumer handles e, unless it has.
func record(ctx context.Context, q *messaging.Queries, consumer string, e event.Event, at time.Time) (fresh bool, err error) {
	inserted, err := q.InsertHandled(ctx, messaging.InsertHandledParams{
		Consumer: consumer, Source: e.Source(), EventID: e.ID(), ProcessedAt: at,
	})
	if err != nil {
		return false, fmt.Errorf("record event %s in the inbox: %w", e.ID(), err)
	}
	return inserted > 0, nil
}

// GroupWork is what a transaction does for several events that were not handled before: those of the given indices. The
// events that it returns are stored with what it wrote.
type GroupWork func(ctx context.Context, tx *sql.Tx, fresh []int) ([]event.Event, error)

// OnceEach is Once for several events in one transaction: all of them have their effect, or none. It returns the indices
// of those that had it now; the others were duplicates, of one handled before or of an earlier one of the same call. An
// error says nothing about a single event: handle them one by one then. That a call with one event only has a duplicate is
// such an error too: looking first would cost every event that comes alone a round trip.
func OnceEach(ctx context.Context, db *sql.DB, consumer string, es []event.Event, now func() time.Time, work GroupWork) (fresh []int, shards []uint8, err error) {
	shards, err = outbox.TransactGroup(failpoint.In(ctx, consumer), db, now, func(ctx context.Context, tx *sql.Tx) ([]event.Event, error) {
		fresh, err = recordEach(ctx, messaging.New(tx), consumer, es, now())
		if err != nil || len(fresh) == 0 {
			return nil, err
		}
		return work(ctx, tx, fresh)
	})
	return fresh, shards, err
}

// recordEach is record for several events; it returns the indices of those that consumer has not handled.
func recordEach(ctx context.Context, q *messaging.Queries, consumer string, es []event.Event, at time.Time) ([]int, error) {
	fresh := []int{0} // a single one is taken to be new: it fails if it is not
	if len(es) > 1 {
		// Read before the insert: the affected count of one for many rows does not say which were there.
		var err error
		if fresh, err = sift(ctx, q, consumer, es); err != nil {
			return nil, err
		}
	}
	rows := make([]messaging.InsertNewlyHandledParams, len(fresh))
	for n, i := range fresh {
		rows[n] = messaging.InsertNewlyHandledParams{Consumer: consumer, Source: es[i].Source(), EventID: es[i].ID(), ProcessedAt: at}
	}
	// In the order of the key, so that two groups with the same events do not lock each other out.
	slices.SortFunc(rows, func(a, b messaging.InsertNewlyHandledParams) int {
		return cmp.Or(cmp.Compare(a.EventID, b.EventID), cmp.Compare(a.Source, b.Source))
	})
	if err := q.InsertAllHandled(schema.Later(ctx), rows); err != nil {
		return nil, fmt.Errorf("record %d events in the inbox: %w", len(rows), err)
	}
	return fresh, nil
}

// identity is what an event is known by.
type identity struct{ source, id string }

// sift returns the indices of the events that consumer has not handled, each event once.
func sift(ctx context.Context, q *messaging.Queries, consumer string, es []event.Event) ([]int, error) {
	ids := make([]string, len(es))
	for i, e := range es {
		ids[i] = e.ID()
	}
	handled, err := q.ListHandled(ctx, messaging.ListHandledParams{EventIds: ids, Consumer: consumer})
	if err != nil {
		return nil, fmt.Errorf("look for %d events in the inbox: %w", len(ids), err)
	}
	seen := make(map[identity]bool, len(es))
	for _, h := range handled {
		seen[identity{h.Source, h.EventID}] = true
	}
	fresh := make([]int, 0, len(es))
	for i, e := range es {
		if key := (identity{e.Source(), e.ID()}); !seen[key] {
			seen[key] = true
			fresh = append(fresh, i)
		}
	}
	return fresh, nil
}
