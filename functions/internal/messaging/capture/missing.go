package capture

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"example.com/orders/sql/messaging"
	"example.com/orders/sql/transaction"
)

// Missing is a stored row whose event has no record in its topic.
type Missing struct {
	ID                int64
	AggregateID, Type string
}

// Missing lists the new and sent rows that were stored since a time and whose event has no record, in the order in which they
// were stored, and returns the number of all. Its topics must still have the records since then. It leaves out rows younger
// than settled, whose record may be under way.
func (f *Follower) Missing(ctx context.Context, since time.Time, settled time.Duration) (missing []Missing, stored int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	rows, types, topics := map[identity]unsent{}, map[int64]string{}, map[string]bool{}
	q := messaging.New(f.DB)
	for after := int64(0); ; {
		found, err := q.ListStored(ctx, messaging.ListStoredParams{ID: after, Limit: page})
		if err != nil {
			return nil, 0, fmt.Errorf("list the rows since %s: %w", since.UTC().Format(time.RFC3339), err)
		}
		for _, row := range found {
			after = row.ID
			young := time.Duration(row.AgeMicros)*time.Microsecond < settled
			closed := row.Status != messaging.OutboxStatusNEW && row.Status != messaging.OutboxStatusSENT
			if young || closed || row.CreatedAt.Before(since) {
				continue
			}
			rows[identityOfRow(row.ID, row.Headers)] = unsent{InsertWaitingParams: messaging.InsertWaitingParams{ID: row.ID, AggregateID: row.AggregateID}}
			types[row.ID] = row.Type
			topics[f.TopicPrefix+row.Type] = true
		}
		if len(found) < page {
			break
		}
	}
	stored = len(rows)
	f.next = nil // from that time on, whatever was read before
	spans, err := f.widen(topics, since)
	if err != nil {
		return nil, 0, f.broken(err)
	}
	if _, err := f.find(ctx, spans, rows); err != nil {
		return nil, 0, f.broken(err)
	}
	f.next = nil
	for _, row := range rows {
		missing = append(missing, Missing{row.ID, row.AggregateID, types[row.ID]})
	}
	slices.SortFunc(missing, func(a, b Missing) int { return cmp.Compare(a.ID, b.ID) })
	return missing, stored, nil
}

const resent = "its event has no record: sent again by an operator"

// Resend makes missing rows due for a relay, and returns how many of them are still new or sent.
func (f *Follower) Resend(ctx context.Context, missing []Missing) (n int, err error) {
	reason := resent
	for some := range slices.Chunk(missing, page) {
		again := 0
		err := transaction.Run(ctx, f.DB, func(ctx context.Context, tx *transaction.Tx) error {
			q := messaging.New(tx)
			var waiting []messaging.InsertWaitingParams
			for _, row := range some {
				changed, err := q.Resend(ctx, messaging.ResendParams{ID: row.ID, LastError: &reason})
				if err != nil {
					return err
				}
				if changed > 0 {
					waiting = append(waiting, messaging.InsertWaitingParams{ID: row.ID, AggregateID: row.AggregateID})
				}
			}
			again = len(waiting)
			return q.InsertAllWaiting(ctx, waiting)
		})
		if err != nil {
			return n, fmt.Errorf("make %d rows due again: %w", len(some), err)
		}
		n += again
	}
	return n, nil
}

// identityOfRow returns the identity of a stored event; that of a row that is no event is its own.
func identityOfRow(id int64, headers string) identity {
	var h struct{ ID, Source string }
	if err := json.Unmarshal([]byte(headers), &h); err != nil {
		h.ID = strconv.FormatInt(id, 10)
	}
	return identity{h.Source, h.ID}
}
