package mysqltest

import (
	"context"
	"database/sql"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Planner runs the statements of sqlc and keeps how the server finds the rows of each.
type Planner struct {
	*sql.DB
	t       testing.TB
	Lookups []Lookup // of the last statement
}

// Lookup is how a statement finds the rows of one table. The index is empty for a scan of the table.
type Lookup struct{ Table, Access, Index string }

// NewPlanner returns a planner of statements for db.
func NewPlanner(t testing.TB, db *sql.DB) *Planner {
	t.Helper()
	return &Planner{DB: db, t: t}
}

// ExecContext explains and runs a statement.
func (p *Planner) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	p.explain(ctx, query, args)
	return p.DB.ExecContext(ctx, query, args...)
}

// QueryContext explains and runs a query.
func (p *Planner) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	p.explain(ctx, query, args)
	return p.DB.QueryContext(ctx, query, args...)
}

// QueryRowContext explains and runs a query for one row.
func (p *Planner) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	p.explain(ctx, query, args)
	return p.DB.QueryRowContext(ctx, query, args...)
}

func (p *Planner) explain(ctx context.Context, query string, args []any) {
	p.Lookups = nil
	// The format is named: that of MySQL 9 is a tree otherwise, in which a test would find no table to complain of.
	rows, err := p.DB.QueryContext(ctx, "EXPLAIN FORMAT=TRADITIONAL "+query, args...)
	require.NoError(p.t, err, query)
	defer func() { _ = rows.Close() }()
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
		p.Lookups = append(p.Lookups, Lookup{plan["table"], plan["type"], plan["key"]})
	}
	require.NoError(p.t, rows.Err())
	for _, l := range p.Lookups {
		require.NotEmpty(p.t, l.Table, "EXPLAIN tells of no table: %s", query)
	}
}
