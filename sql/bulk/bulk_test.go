package bulk_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/sql/bulk"
)

type line struct {
	sku   string
	count int
}

func (l line) arguments() []any { return []any{l.sku, l.count} }

// recorder keeps the statement that it is given.
type recorder struct {
	query string
	args  []any
	calls int
	err   error
}

func (r *recorder) ExecContext(_ context.Context, query string, args ...any) (sql.Result, error) {
	r.query, r.args = query, args
	r.calls++
	return nil, r.err
}

const insert = "-- name: InsertLine :exec\nINSERT INTO `lines` (sku, count)\nVALUES (?, ?)\n"

func TestInsertRepeatsThePlaceholdersForEachRow(t *testing.T) {
	cases := map[string]struct {
		rows  []line
		query string
		args  []any
	}{
		"one row":    {[]line{{"A", 1}}, "-- name: InsertLine :exec\nINSERT INTO `lines` (sku, count)\nVALUES (?, ?)", []any{"A", 1}},
		"three rows": {[]line{{"A", 1}, {"B", 2}, {"C", 3}}, "-- name: InsertLine :exec\nINSERT INTO `lines` (sku, count)\nVALUES (?, ?), (?, ?), (?, ?)", []any{"A", 1, "B", 2, "C", 3}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var r recorder
			require.NoError(t, bulk.Insert(t.Context(), &r, insert, c.rows, line.arguments))
			assert.Equal(t, c.query, r.query)
			assert.Equal(t, c.args, r.args)
			assert.Equal(t, 1, r.calls)
		})
	}
}

func TestInsertOfNoRowsRunsNothing(t *testing.T) {
	var r recorder
	require.NoError(t, bulk.Insert(t.Context(), &r, insert, nil, line.arguments))
	assert.Zero(t, r.calls)
}

func TestInsertReturnsTheErrorOfTheStatement(t *testing.T) {
	refused := errors.New("refused")
	r := recorder{err: refused}
	assert.ErrorIs(t, bulk.Insert(t.Context(), &r, insert, []line{{"A", 1}}, line.arguments), refused)
}

func TestInsertRepeatsTheCallsOfFunctionsAmongThePlaceholders(t *testing.T) {
	var r recorder
	rows := []line{{"A", 1}, {"B", 2}}
	require.NoError(t, bulk.Insert(t.Context(), &r, "INSERT INTO `lines` (sku, count, at)\nVALUES (?, ?, NOW(6)) ON DUPLICATE KEY UPDATE count = VALUES(count)", rows, line.arguments))
	assert.Equal(t, "INSERT INTO `lines` (sku, count, at)\nVALUES (?, ?, NOW(6)), (?, ?, NOW(6)) ON DUPLICATE KEY UPDATE count = VALUES(count)", r.query)
	assert.Equal(t, []any{"A", 1, "B", 2}, r.args)
}
