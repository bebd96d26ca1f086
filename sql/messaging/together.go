package messaging

import (
	"context"
	"database/sql"
	"strings"

	"example.com/orders/sql/schema"
)

// ClaimShard is ClaimShards for one shard, and ListNew for it after that, in one round trip. When another relay has the
// shard claimed is false, and the list is to be forgotten.
func (q *Queries) ClaimShard(ctx context.Context, list ListNewParams) (claimed bool, rows []ListNewRow, err error) {
	claim := schema.Query{Text: strings.Replace(claimShards, "/*SLICE:shards*/?", "?", 1), Args: []any{list.Shard}}
	err = schema.QueryTogether(ctx, q.db, []schema.Query{claim, list.query()}, func(n int, answer *sql.Rows) (err error) {
		if n == 0 {
			claimed = answer.Next()
			return nil
		}
		rows, err = newRows(answer)
		return err
	})
	return claimed, rows, err
}

// ListNewOfEach is ListNew for several shards in one round trip; there is one list for each of lists.
func (q *Queries) ListNewOfEach(ctx context.Context, lists []ListNewParams) ([][]ListNewRow, error) {
	if len(lists) == 0 {
		return nil, nil
	}
	queries, pages := make([]schema.Query, len(lists)), make([][]ListNewRow, len(lists))
	for i, list := range lists {
		queries[i] = list.query()
	}
	err := schema.QueryTogether(ctx, q.db, queries, func(n int, answer *sql.Rows) (err error) {
		pages[n], err = newRows(answer)
		return err
	})
	return pages, err
}

// ListPendingShards is PendingShard for several shards in one round trip.
func (q *Queries) ListPendingShards(ctx context.Context, shards []uint8) (pending []uint8, err error) {
	queries := make([]schema.Query, len(shards))
	for i, shard := range shards {
		queries[i] = schema.Query{Text: pendingShard, Args: []any{shard, shard, shard}}
	}
	err = schema.QueryTogether(ctx, q.db, queries, func(n int, answer *sql.Rows) error {
		if answer.Next() {
			pending = append(pending, shards[n])
		}
		return nil
	})
	return pending, err
}

func (p ListNewParams) query() schema.Query {
	return schema.Query{Text: listNew, Args: []any{p.Shard, p.Shard, p.After, p.Limit}}
}

func newRows(answer *sql.Rows) (rows []ListNewRow, err error) {
	for answer.Next() {
		var r ListNewRow
		if err := answer.Scan(&r.ID, &r.AggregateID, &r.Type, &r.Payload, &r.Headers, &r.HeldUntil, &r.Due); err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
	return rows, nil
}
