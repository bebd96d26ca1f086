package outbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/mysqltest"
	"example.com/orders/sql/messaging"
	"example.com/orders/sql/schema"
)

// planner runs the statements of sqlc and keeps how the server would find the rows of each.
type planner struct {
	messaging.DBTX
	t       *testing.T
	lookups []lookup // of the last statement
}

// lookup is how a statement finds the rows of one table. The index is empty for a scan of the table.
type lookup struct{ table, access, index string }

func (p *planner) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	p.explain(ctx, query, args)
	return p.DBTX.ExecContext(ctx, query, args...)
}

func (p *planner) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	p.explain(ctx, query, args)
	return p.DBTX.QueryContext(ctx, query, args...)
}

func (p *planner) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	p.explain(ctx, query, args)
	return p.DBTX.QueryRowContext(ctx, query, args...)
}

func (p *planner) explain(ctx context.Context, query string, args []any) {
	p.lookups = nil
	rows, err := p.DBTX.QueryContext(ctx, "EXPLAIN "+query, args...)
	require.NoError(p.t, err, query)
	defer rows.Close()
	columns, err := rows.Columns()
	require.NoError(p.t, err)
	for rows.Next() {
		values := make([]sql.NullString, len(columns))
		into := make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		require.NoError(p.t, rows.Scan(into...))
		plan := map[string]string{}
		for i, column := range columns {
			plan[strings.ToLower(column)] = values[i].String
		}
		p.lookups = append(p.lookups, lookup{plan["table"], plan["type"], plan["key"]})
	}
	require.NoError(p.t, rows.Err())
}

func TestEveryQueryOfTheRelayFindsItsRowsByAnIndex(t *testing.T) {
	sizes := map[string]int{"few rows": 10, "many rows": 20_000}
	for size, n := range sizes {
		t.Run(size, func(t *testing.T) {
			db := mysqltest.Open(t, schema.Orders)
			fill(t, db, n)
			for _, table := range []string{"outbox", "outbox_shards", "inbox"} {
				exec(t, db, "ANALYZE TABLE "+table)
			}
			p := &planner{DBTX: db, t: t}
			q := messaging.New(p)
			reason, before := "refused", time.Now()
			queries := map[string]func() error{
				"ListPendingShards": func() error { _, err := q.ListPendingShards(t.Context()); return err },
				"ClaimShards":       func() error { _, err := q.ClaimShards(t.Context(), []uint8{1, 3}); return err },
				"ListRetries": func() error {
					_, err := q.ListRetries(t.Context(), messaging.ListRetriesParams{Shard: 3, ID: 5, Limit: 500})
					return err
				},
				"ListNew": func() error {
					_, err := q.ListNew(t.Context(), messaging.ListNewParams{Shard: 3, ID: 5, Limit: 500})
					return err
				},
				"MarkSent": func() error {
					return q.MarkSent(t.Context(), time.Now(), []messaging.Sent{{ID: 2}, {ID: 3}, {ID: 4}})
				},
				"RecordRefusal": func() error {
					return q.RecordRefusal(t.Context(), messaging.RecordRefusalParams{ID: 2, LastError: &reason, WaitMicros: 1})
				},
				"Park":       func() error { return q.Park(t.Context(), messaging.ParkParams{ID: 2, LastError: &reason}) },
				"FirstEvent": func() error { _, err := q.FirstEvent(t.Context()); return err },
				"LastOfRange": func() error {
					_, err := q.LastOfRange(t.Context(), messaging.LastOfRangeParams{ID: 1, Limit: 1000})
					return err
				},
				"DeleteSentRange": func() error {
					_, err := q.DeleteSentRange(t.Context(), messaging.DeleteSentRangeParams{FirstID: 1, LastID: 5, SentBefore: &before})
					return err
				},
			}
			for name, run := range queries {
				require.NoError(t, run(), name)
				require.NotEmpty(t, p.lookups, name)
				for _, l := range p.lookups {
					switch l.table {
					case "outbox", "o", "n", "e", "outbox_shards", "s":
						if name == "MarkSent" && l.table == "s" { // the list of what was sent
							continue
						}
						assert.NotEmpty(t, l.index, "%s scans the table: %v", name, fmt.Sprint(p.lookups))
						assert.NotEqual(t, "ALL", l.access, "%s: %v", name, p.lookups)
					}
				}
			}
		})
	}
}
