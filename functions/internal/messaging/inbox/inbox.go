// Package inbox dedupes events: each takes effect once, however often it is delivered, since the record of the event commits
// with its effect.
package inbox

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/functions/internal/messaging/failpoint"
	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/sql/dberror"
	"example.com/orders/sql/messaging"
	"example.com/orders/sql/transaction"
)

// Work is the body of a transaction for the events at the indices fresh, which were not handled before. The events that it
// returns are stored in the same transaction.
type Work func(ctx context.Context, tx *transaction.Tx, fresh []int) ([]event.Event, error)

// Once runs work in one transaction with the inbox rows of some events for consumer: all of them take effect, or none. It
// returns the indices of those that take effect now, and the shards of the outbox with new rows; the other events are
// duplicates of one handled before, or of an earlier one of the same call. Source and id together identify an event, as in
// CloudEvents. Of two concurrent deliveries of an event, the second waits for the first to commit or to fail.
//
// A batch (see batch.Run) waits only briefly for a row that another transaction holds; its error says nothing about a single
// event. A batch of one assumes that its event is new, which is nearly always true and saves a round trip, and fails if it
// is not. An event that is retried alone is looked up first.
func Once(ctx context.Context, store outbox.Store, consumer string, es []event.Event, alone bool, work Work) (fresh []int, shards []uint8, err error) {
	ctx = failpoint.In(ctx, consumer)
	store = store.After(es)
	if !alone {
		return once(ctx, store.TransactShared, store.Now, consumer, es, len(es) > 1, work)
	}
	fresh, shards, err = once(ctx, store.Transact, store.Now, consumer, es, true, work)
	if dberror.IsDuplicate(err) { // another delivery has committed since the lookup
		fresh, shards, err = once(ctx, store.Transact, store.Now, consumer, es, true, work)
	}
	return fresh, shards, err
}

type transact func(context.Context, outbox.Work) ([]uint8, error)

func once(ctx context.Context, transact transact, now func() time.Time, consumer string, es []event.Event, look bool, work Work) (fresh []int, shards []uint8, err error) {
	shards, err = transact(ctx, func(ctx context.Context, tx *transaction.Tx) ([]event.Event, error) {
		fresh = []int{0}
		if look {
			// Before the insert: the affected count of a multi-row insert does not say which rows were duplicates.
			found, err := dedupe(ctx, messaging.New(tx), consumer, es)
			if fresh = found; err != nil || len(fresh) == 0 {
				return nil, err
			}
		}
		if err := record(ctx, tx, consumer, es, fresh, now()); err != nil {
			return nil, err
		}
		return work(ctx, tx, fresh)
	})
	return fresh, shards, err
}

// record inserts the inbox rows of the events at some indices, none of which consumer has handled before: error 1062 means
// that it has.
func record(ctx context.Context, tx *transaction.Tx, consumer string, es []event.Event, fresh []int, at time.Time) error {
	rows := make([]messaging.InsertHandledParams, len(fresh))
	for n, i := range fresh {
		rows[n] = messaging.InsertHandledParams{Consumer: consumer, Source: es[i].Source(), EventID: es[i].ID(), ProcessedAt: at}
	}
	// Sorted by key, so that two batches with the same events do not deadlock.
	slices.SortFunc(rows, func(a, b messaging.InsertHandledParams) int {
		return cmp.Or(cmp.Compare(a.EventID, b.EventID), cmp.Compare(a.Source, b.Source))
	})
	if err := messaging.New(tx.Deferred()).InsertAllHandled(ctx, rows); err != nil {
		return fmt.Errorf("record %d events in the inbox: %w", len(rows), err)
	}
	return nil
}

// identity identifies an event.
type identity struct{ source, id string }

// dedupe returns the indices of the events that consumer has not handled, without duplicates.
func dedupe(ctx context.Context, q *messaging.Queries, consumer string, es []event.Event) ([]int, error) {
	ids := make([]string, len(es))
	for i, e := range es {
		ids[i] = e.ID()
	}
	handled, err := q.ListHandled(ctx, messaging.ListHandledParams{EventIds: ids, Consumer: consumer})
	if err != nil {
		return nil, fmt.Errorf("look up %d events in the inbox: %w", len(ids), err)
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
