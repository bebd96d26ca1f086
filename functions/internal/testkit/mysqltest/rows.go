package mysqltest

import (
	"database/sql"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Rows returns the rows of a query, each as one text, with NULL as such.
func Rows(t testing.TB, db *sql.DB, query string, arguments ...any) (all []string) {
	t.Helper()
	_, rows := Values(t, db, query, arguments...)
	for _, values := range rows {
		texts := make([]string, len(values))
		for i, v := range values {
			texts[i] = v.String
			if !v.Valid {
				texts[i] = "NULL"
			}
		}
		all = append(all, strings.Join(texts, " | "))
	}
	return all
}

// Values returns the names of the columns and the rows of a query.
func Values(t testing.TB, db *sql.DB, query string, arguments ...any) (columns []string, all [][]sql.NullString) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query, arguments...)
	require.NoError(t, err, query)
	defer func() { _ = rows.Close() }()
	columns, err = rows.Columns()
	require.NoError(t, err)
	for rows.Next() {
		values := make([]sql.NullString, len(columns))
		into := make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		require.NoError(t, rows.Scan(into...))
		all = append(all, values)
	}
	require.NoError(t, rows.Err())
	return columns, all
}

// Statements returns how many statements do sends through db, whose pool is limited to one connection.
func Statements(t testing.TB, db *sql.DB, do func()) int {
	t.Helper()
	db.SetMaxOpenConns(1)
	count := func() (n int) {
		var name string
		require.NoError(t, db.QueryRowContext(t.Context(), "SHOW SESSION STATUS LIKE 'Questions'").Scan(&name, &n))
		return n
	}
	before := count()
	do()
	return count() - before - 1 // the second query counts itself
}

// RowsRead returns how many rows do reads in a session, through an index or not. conn is a connection, a transaction, or a
// pool of a single connection.
func RowsRead(t testing.TB, conn Conn, do func()) int {
	t.Helper()
	// Otherwise rows that the engine itself reads and skips are not counted.
	_, err := conn.ExecContext(t.Context(), "SET SESSION optimizer_switch = 'index_condition_pushdown=off'")
	require.NoError(t, err)
	count := func() (n int) {
		rows, err := conn.QueryContext(t.Context(), "SHOW SESSION STATUS LIKE 'Handler_read%'")
		require.NoError(t, err)
		defer func() { require.NoError(t, rows.Close()) }()
		for rows.Next() {
			var name string
			var read int
			require.NoError(t, rows.Scan(&name, &read))
			n += read
		}
		require.NoError(t, rows.Err())
		return n
	}
	before := count()
	do()
	return count() - before
}
