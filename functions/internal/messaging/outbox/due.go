package outbox

import (
	"context"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/sql/messaging"
)

// row is a due outbox row.
type row struct {
	id        int64
	aggregate string
	waited    bool // the broker refused it before
	attempts  int
	event     event.Event
	err       error // the row cannot be turned into an event
}

// heldRow is an outbox row that an earlier row of its aggregate holds back.
type heldRow struct {
	messaging.InsertWaitingParams

	until time.Time // the next attempt of the earlier row
}

// claim locks the shards that no other relay has, and reads the first new rows of each: up to its share of the batch, and none
// if the relay takes only due rows.
func (r Relay) claim(ctx context.Context, q *messaging.Queries, shards []uint8) (claimed []uint8, pages [][]messaging.ListNewRow, err error) {
	if r.DueOnly {
		if claimed, err = q.ClaimShards(ctx, shards); err != nil {
			return nil, nil, fmt.Errorf("claim shards: %w", err)
		}
		return claimed, make([][]messaging.ListNewRow, len(claimed)), nil
	}
	if len(shards) == 1 {
		mine, page, err := q.ClaimShard(ctx, messaging.ListNewParams{Shard: shards[0], Limit: batchSize})
		if err != nil {
			return nil, nil, fmt.Errorf("claim shards and read the new rows: %w", err)
		}
		if !mine {
			return nil, nil, nil
		}
		return shards, [][]messaging.ListNewRow{page}, nil
	}
	if claimed, err = q.ClaimShards(ctx, shards); err != nil {
		return nil, nil, fmt.Errorf("claim shards: %w", err)
	}
	lists := make([]messaging.ListNewParams, len(claimed))
	for i, shard := range claimed {
		lists[i] = messaging.ListNewParams{Shard: shard, Limit: int32(batchSize / len(claimed))}
	}
	if pages, err = q.ListNewOfEach(ctx, lists); err != nil {
		return nil, nil, fmt.Errorf("read the new rows: %w", err)
	}
	return claimed, pages, nil
}

// due returns up to limit rows of a shard to send now, at most one per aggregate: its first unsent one. A row that waits for
// its retry holds back its aggregate, and so does one that a Dispatcher holds; a parked one does not. held has rows to set
// aside until such a row is due. page has the first limit new rows that nobody holds.
func due(ctx context.Context, q *messaging.Queries, shard uint8, limit int, page []messaging.ListNewRow) (rows []row, held []heldRow, err error) {
	seen := make(map[string]bool, limit) // the aggregates whose first row has been read
	take := func(aggregate string, r func() row) {
		if !seen[aggregate] && len(rows) < limit {
			rows = append(rows, r())
		}
		seen[aggregate] = true
	}
	hold := func(id int64, aggregate string, until time.Time) {
		held = append(held, heldRow{messaging.InsertWaitingParams{ID: id, AggregateID: aggregate}, until})
	}
	var holders []messaging.ListHoldersRow
	if len(page) == 0 || page[0].Waits != 0 {
		var retries []messaging.ListDueRow
		list := messaging.ListDueParams{Shard: shard, Limit: int32(max(1, limit/retryShare))}
		if retries, holders, err = q.ListDueWithHolders(ctx, list, aggregates(page)); err != nil {
			return nil, nil, fmt.Errorf("read the rows to retry: %w", err)
		}
		for _, w := range retries {
			if w.HeldUntil != nil {
				hold(w.ID, w.AggregateID, *w.HeldUntil)
				continue
			}
			take(w.AggregateID, func() row {
				r := newRow(w.ID, w.AggregateID, w.Type, w.Payload, w.Headers)
				r.waited, r.attempts = true, w.Attempts
				return r
			})
		}
	}
	again := len(held)
	for {
		first := firstOf(holders)
		for _, n := range page {
			if h, ok := first[n.AggregateID]; ok && h.ID < n.ID {
				hold(n.ID, n.AggregateID, *h.NextAttemptAt)
				continue
			}
			take(n.AggregateID, func() row { return newRow(n.ID, n.AggregateID, n.Type, n.Payload, n.Headers) })
		}
		if len(page) < limit || len(rows) == limit || len(held) >= limit {
			break
		}
		after := page[len(page)-1].ID
		if page, err = q.ListNew(ctx, messaging.ListNewParams{Shard: shard, After: after, Limit: int32(limit)}); err != nil {
			return nil, nil, fmt.Errorf("read the new rows: %w", err)
		}
		holders = nil
		if len(page) > 0 && page[0].Waits != 0 {
			if holders, err = q.HoldersOf(ctx, shard, aggregates(page)); err != nil {
				return nil, nil, fmt.Errorf("read which rows hold back the new ones: %w", err)
			}
		}
	}
	if len(held)-again <= fewHeld {
		held = held[:again]
	}
	return rows, held, nil
}

// aggregates returns the aggregate ids of new rows.
func aggregates(page []messaging.ListNewRow) []string {
	ids := make([]string, len(page))
	for i, n := range page {
		ids[i] = n.AggregateID
	}
	return ids
}

// firstOf maps each aggregate to the first of the rows that hold back its later ones.
func firstOf(holders []messaging.ListHoldersRow) map[string]messaging.ListHoldersRow {
	first := make(map[string]messaging.ListHoldersRow, len(holders))
	for _, h := range holders {
		if known, ok := first[h.AggregateID]; !ok || h.ID < known.ID {
			first[h.AggregateID] = h
		}
	}
	return first
}

func newRow(id int64, aggregate, eventType, payload, headers string) row {
	e, err := Decode(eventType, payload, headers)
	return row{id: id, aggregate: aggregate, event: e, err: err}
}
