package transaction_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/sql/servertest"
	"example.com/orders/sql/transaction"
)

// ids reads the ids from the rows of a query.
func ids(t *testing.T, rows *sql.Rows) (all []int) {
	t.Helper()
	for rows.Next() {
		var id int
		require.NoError(t, rows.Scan(&id))
		all = append(all, id)
	}
	return all
}

func TestQueriesAreAskedTogether(t *testing.T) {
	db := open(t, servertest.Empty(t))
	servertest.Exec(t, db, "INSERT INTO facts (id) VALUES (1), (2), (3)")
	above := func(id int) transaction.Query {
		return transaction.Query{Text: "SELECT id FROM facts WHERE id > ? ORDER BY id\n", Args: []any{id}}
	}
	require.NoError(t, transaction.Once(t.Context(), db, func(_ context.Context, tx *transaction.Tx) error {
		later(t, tx, "INSERT INTO facts (id) VALUES (4)")

		answers := map[int][]int{}
		require.NoError(t, transaction.QueryTogether(t.Context(), tx, []transaction.Query{above(2), above(9), above(0), above(3)}, func(n int, rows *sql.Rows) error {
			if n == 2 {
				assert.True(t, rows.Next(), "the rest may stay unread")
			} else {
				answers[n] = ids(t, rows)
			}
			return nil
		}))
		assert.Equal(t, map[int][]int{0: {3, 4}, 1: nil, 3: {4}}, answers)

		wrong := transaction.Query{Text: "SELECT id FROM nothing"}
		for place, queries := range map[string][]transaction.Query{"first": {wrong, above(0)}, "second": {above(0), wrong, above(0)}} {
			scanned := 0
			assert.Error(t, transaction.QueryTogether(t.Context(), tx, queries, func(int, *sql.Rows) error { scanned++; return nil }), place)
			assert.Equal(t, len(queries)-2, scanned, place)
		}
		unreadable := errors.New("unreadable")
		require.ErrorIs(t, transaction.QueryTogether(t.Context(), tx, []transaction.Query{above(0), above(1)}, func(int, *sql.Rows) error { return unreadable }), unreadable)
		return nil // the connection stays usable
	}))
	assert.Equal(t, 4, count(t, db))
}
