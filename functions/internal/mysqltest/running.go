package mysqltest

import (
	"database/sql"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// AwaitRunning returns once n sessions of the schema of db are at a statement with text in it, such as the name that
// sqlc writes into each. Where the row that the statement needs is held, they wait for it.
func AwaitRunning(t testing.TB, db *sql.DB, text string, n int) {
	t.Helper()
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	deadline := time.Now().Add(10 * time.Second)
	for {
		running := countRunning(t, db, text)
		if running == n {
			return
		}
		require.True(t, time.Now().Before(deadline), "%d of %d sessions are at %s", running, n, text)
		<-look.C
	}
}

// countRunning shows the processes. The tables that list them do not do: innodb_trx stays as it is for as long as
// somebody asks, and processlist fails on MySQL for a statement with binary data.
func countRunning(t testing.TB, db *sql.DB, text string) (running int) {
	t.Helper()
	var schema string
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT DATABASE()").Scan(&schema))
	rows, err := db.QueryContext(t.Context(), "SHOW FULL PROCESSLIST")
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Close()) }()
	columns, err := rows.Columns()
	require.NoError(t, err)
	for rows.Next() {
		// Id, User, Host, db, Command, Time, State, Info, and on MariaDB one more.
		values := make([]sql.NullString, len(columns))
		into := make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		require.NoError(t, rows.Scan(into...))
		if values[3].String == schema && values[4].String == "Query" && strings.Contains(values[7].String, text) {
			running++
		}
	}
	require.NoError(t, rows.Err())
	return running
}
