package mysqltest

import (
	"context"
	"database/sql"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Planner runs the statements of sqlc and records the query plan of each.
type Planner struct {
	Conn
	t       testing.TB
	Query   string   // the last statement
	Lookups []Lookup // of the last statement
}

// Conn runs statements: a pool, a connection or a transaction.
type Conn interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Lookup is how a statement finds the rows of one table, named by its alias if it has one. Index is empty for a table scan.
// Kind is the type of the select, or INSERT and the like; Extra has the server's remarks.
type Lookup struct{ Table, Access, Index, Kind, Extra string }

// NewPlanner returns a planner for statements on conn.
func NewPlanner(t testing.TB, conn Conn) *Planner {
	t.Helper()
	return &Planner{Conn: conn, t: t}
}

// ExecContext explains and runs a statement.
func (p *Planner) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	p.explain(ctx, query, args)
	return p.Conn.ExecContext(ctx, query, args...)
}

// QueryContext explains and runs a query.
func (p *Planner) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	p.explain(ctx, query, args)
	return p.Conn.QueryContext(ctx, query, args...)
}

// QueryRowContext explains and runs a query for one row.
func (p *Planner) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	p.explain(ctx, query, args)
	return p.Conn.QueryRowContext(ctx, query, args...)
}

// explain reads the plans of a text with one or more statements.
func (p *Planner) explain(ctx context.Context, query string, args []any) {
	p.Query, p.Lookups = query, nil
	for statement := range strings.SplitSeq(query, ";\n") {
		n := strings.Count(statement, "?")
		p.explainOne(ctx, statement, args[:n])
		args = args[n:]
	}
}

func (p *Planner) explainOne(ctx context.Context, query string, args []any) {
	// The format is explicit: by default MySQL 9 prints a tree, in which a test would find no table.
	rows, err := p.Conn.QueryContext(ctx, "EXPLAIN FORMAT=TRADITIONAL "+query, args...)
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
		if strings.HasPrefix(plan["extra"], "Impossible WHERE") {
			continue // the optimizer found already that there are no rows
		}
		p.Lookups = append(p.Lookups, Lookup{plan["table"], plan["type"], plan["key"], plan["select_type"], plan["extra"]})
	}
	require.NoError(p.t, rows.Err())
	for _, l := range p.Lookups {
		require.NotEmpty(p.t, l.Table, "EXPLAIN shows no table: %s", query)
	}
}
