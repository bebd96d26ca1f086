package schema_test

import (
	"database/sql"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/sql/schema"
	"example.com/orders/sql/servertest"
)

// ids reads the rows of a query for ids.
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
	exec(t, db, "INSERT INTO facts (id) VALUES (1), (2), (3)")
	above := func(id int) schema.Query {
		return schema.Query{Text: "SELECT id FROM facts WHERE id > ? ORDER BY id\n", Args: []any{id}}
	}
	tx, err := db.BeginTx(t.Context(), schema.ReadCommitted)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	later(t, tx, "INSERT INTO facts (id) VALUES (4)")

	answers := map[int][]int{}
	require.NoError(t, schema.QueryTogether(t.Context(), tx, []schema.Query{above(2), above(9), above(0), above(3)}, func(n int, rows *sql.Rows) error {
		if n == 2 {
			assert.True(t, rows.Next(), "nobody need read all of them")
		} else {
			answers[n] = ids(t, rows)
		}
		return nil
	}))
	assert.Equal(t, map[int][]int{0: {3, 4}, 1: nil, 3: {4}}, answers)

	wrong := schema.Query{Text: "SELECT id FROM nothing"}
	for place, queries := range map[string][]schema.Query{"first": {wrong, above(0)}, "second": {above(0), wrong, above(0)}} {
		scanned := 0
		assert.Error(t, schema.QueryTogether(t.Context(), tx, queries, func(int, *sql.Rows) error { scanned++; return nil }), place)
		assert.Equal(t, len(queries)-2, scanned, place)
	}
	unreadable := errors.New("unreadable")
	require.ErrorIs(t, schema.QueryTogether(t.Context(), tx, []schema.Query{above(0), above(1)}, func(int, *sql.Rows) error { return unreadable }), unreadable)
	require.NoError(t, tx.Commit(), "the connection goes on")
	assert.Equal(t, 4, count(t, db))
}
