package messaging

import (
	"context"
	"database/sql"

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

// ListDueWithHolders is ListDue followed by HoldersOf, in one round trip.
func (q *Queries) ListDueWithHolders(ctx context.Context, list ListDueParams, aggregates []string) (due []ListDueRow, holders []ListHoldersRow, err error) {
	queries := append([]transaction.Query{{Text: listDue, Args: []any{list.Shard, list.Limit}}}, holdersOf(list.Shard, aggregates)...)
	err = transaction.QueryTogether(ctx, q.db, queries, func(n int, answer *sql.Rows) error {
		if n > 0 {
			some, err := holderRows(answer)
			holders = append(holders, some...)
			return err
		}
		for answer.Next() {
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

// HoldersOf lists the rows of a shard that hold back later ones of some aggregates: those of ListHolders, and those of ListHeld,
// which may be of other aggregates, too. It takes one round trip.
func (q *Queries) HoldersOf(ctx context.Context, shard uint8, aggregates []string) (holders []ListHoldersRow, err error) {
	queries := holdersOf(shard, aggregates)
	if len(queries) == 0 {
		return nil, nil
	}
	err = transaction.QueryTogether(ctx, q.db, queries, func(_ int, answer *sql.Rows) error {
		some, err := holderRows(answer)
		holders = append(holders, some...)
		return err
	})
	return holders, err
}

func holdersOf(shard uint8, aggregates []string) []transaction.Query {
	if len(aggregates) == 0 {
		return nil
	}
	return []transaction.Query{transaction.QueryIn(listHolders, "aggregate_ids", aggregates), {Text: listHeld, Args: []any{shard}}}
}

func holderRows(answer *sql.Rows) (holders []ListHoldersRow, err error) {
	for answer.Next() {
		var h ListHoldersRow
		if err := answer.Scan(&h.ID, &h.AggregateID, &h.NextAttemptAt); err != nil {
			return nil, err
		}
		holders = append(holders, h)
	}
	return holders, nil
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
