package transaction

import (
	"context"
	"database/sql"
	"strings"
)

// Query is a statement that returns rows.
type Query struct {
	Text string
	Args []any
}

// QueryIn returns a query that sqlc generated, with the values of its only argument, a sqlc.slice of that name.
func QueryIn[T any](text, name string, values []T) Query {
	q := Query{Text: strings.Replace(text, "/*SLICE:"+name+"*/?", strings.TrimPrefix(strings.Repeat(",?", len(values)), ","), 1), Args: make([]any, len(values))}
	for i, v := range values {
		q.Args[i] = v
	}
	return q
}

// Querier is the method of *sql.DB, *sql.Tx and *sql.Conn that runs a query.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// QueryTogether runs several queries in one round trip; the server answers them in order. It calls scan with each query's
// rows, n counting from 0. It stops at the first error of the server or of scan.
func QueryTogether(ctx context.Context, db Querier, queries []Query, scan func(n int, rows *sql.Rows) error) error {
	texts, args := make([]string, len(queries)), make([]any, 0, len(queries))
	for i, q := range queries {
		texts[i] = strings.TrimSpace(q.Text)
		args = append(args, q.Args...)
	}
	rows, err := db.QueryContext(ctx, strings.Join(texts, together), args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // Err returns its error
	for n := range queries {
		if n > 0 && !rows.NextResultSet() {
			break
		}
		if err := scan(n, rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
