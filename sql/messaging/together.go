package messaging

import (
	"context"
	"database/sql"
	"strings"

	"example.com/orders/sql/transaction"
)

// ClaimShards locks those of some shards that no other relay has locked, until the transaction ends, in one round trip.
func (q *Queries) ClaimShards(ctx context.Context, shards []uint8) (claimed []uint8, err error) {
	if len(shards) == 0 {
		return nil, nil
	}
	queries := make([]transaction.Query, len(shards))
	for i, shard := range shards {
		queries[i] = claimOf(shard)
	}
	err = transaction.QueryTogether(ctx, q.db, queries, func(n int, answer *sql.Rows) error {
		if answer.Next() {
			claimed = append(claimed, shards[n])
		}
		return nil
	})
	return claimed, err
}

// ClaimShard is ClaimShards for one shard followed by its ListNew, in one round trip. claimed is false if another relay has
// the shard; then ignore the list.
func (q *Queries) ClaimShard(ctx context.Context, list ListNewParams) (claimed bool, rows []ListNewRow, err error) {
	err = transaction.QueryTogether(ctx, q.db, []transaction.Query{claimOf(list.Shard), list.query()}, func(n int, answer *sql.Rows) (err error) {
		if n == 0 {
			claimed = answer.Next()
			return nil
		}
		rows, err = newRows(answer)
		return err
	})
	return claimed, rows, err
}

// ListNewOfEach is ListNew for several shards in one round trip; it returns one list for each of lists.
func (q *Queries) ListNewOfEach(ctx context.Context, lists []ListNewParams) ([][]ListNewRow, error) {
	if len(lists) == 0 {
		return nil, nil
	}
	queries, pages := make([]transaction.Query, len(lists)), make([][]ListNewRow, len(lists))
	for i, list := range lists {
		queries[i] = list.query()
	}
	err := transaction.QueryTogether(ctx, q.db, queries, func(n int, answer *sql.Rows) (err error) {
		pages[n], err = newRows(answer)
		return err
	})
	return pages, err
}

// ListDueWithHolders is ListDue followed by ListHolders for some aggregates, in one round trip.
func (q *Queries) ListDueWithHolders(ctx context.Context, list ListDueParams, aggregates []string) (due []ListDueRow, holders []ListHoldersRow, err error) {
	queries := []transaction.Query{{Text: listDue, Args: []any{list.Shard, list.Limit}}}
	if n := len(aggregates); n > 0 {
		args := make([]any, n)
		for i, id := range aggregates {
			args[i] = id
		}
		text := strings.Replace(listHolders, "/*SLICE:aggregate_ids*/?", strings.Repeat(",?", n)[1:], 1)
		queries = append(queries, transaction.Query{Text: text, Args: args})
	}
	err = transaction.QueryTogether(ctx, q.db, queries, func(n int, answer *sql.Rows) error {
		for answer.Next() {
			if n == 1 {
				var h ListHoldersRow
				if err := answer.Scan(&h.AggregateID, &h.NextAttemptAt); err != nil {
					return err
				}
				holders = append(holders, h)
				continue
			}
			var d ListDueRow
			if err := answer.Scan(&d.ID, &d.AggregateID, &d.Type, &d.Payload, &d.Headers, &d.Attempts, &d.HeldUntil); err != nil {
				return err
			}
			due = append(due, d)
		}
		return nil
	})
	return due, holders, err
}

func claimOf(shard uint8) transaction.Query {
	return transaction.Query{Text: claimOneShard, Args: []any{shard}}
}

func (p ListNewParams) query() transaction.Query {
	return transaction.Query{Text: listNew, Args: []any{p.Shard, p.Shard, p.After, p.Limit}}
}

func newRows(answer *sql.Rows) (rows []ListNewRow, err error) {
	for answer.Next() {
		var r ListNewRow
		if err := answer.Scan(&r.ID, &r.AggregateID, &r.Type, &r.Payload, &r.Headers, &r.Waits); err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
	return rows, nil
}
