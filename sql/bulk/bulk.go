// Package bulk turns a generated single-row INSERT into one that inserts many rows, so that the text of a query is only in
// its .sql file.
package bulk

import (
	"context"
	"database/sql"
	"strings"
)

// Execer is the method of *sql.DB and *sql.Tx that runs a statement.
type Execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// Insert runs a generated single-row INSERT for many rows at once: it repeats the list of placeholders after VALUES for each
// row, and keeps the rest. Without rows it does nothing. args returns the arguments of a row, in the order of the query's
// columns.
func Insert[T any](ctx context.Context, db Execer, query string, rows []T, args func(T) []any) error {
	if len(rows) == 0 {
		return nil
	}
	query = strings.TrimSpace(query)
	begin := strings.Index(query, "VALUES (") + len("VALUES ")
	end := begin + closing(query[begin:])
	placeholders := query[begin:end]
	var text strings.Builder
	text.Grow(len(query) + (len(placeholders)+2)*(len(rows)-1))
	text.WriteString(query[:end])
	first := args(rows[0])
	values := append(make([]any, 0, len(first)*len(rows)), first...)
	for _, row := range rows[1:] {
		text.WriteString(", ")
		text.WriteString(placeholders)
		values = append(values, args(row)...)
	}
	text.WriteString(query[end:])
	_, err := db.ExecContext(ctx, text.String(), values...)
	return err
}

// closing returns the end of the list that text begins with, which may contain calls of functions.
func closing(text string) int {
	depth := 0
	for i := range len(text) {
		switch text[i] {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(text)
}
