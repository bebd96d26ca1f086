package mysqltest

import (
	"database/sql"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// AwaitRunning returns once n sessions of the schema of db are at a statement like pattern. Where the row that the
// statement needs is held, they wait for it. (information_schema.innodb_trx would say so in plain words, but what it
// shows stays as it is for as long as somebody asks.)
func AwaitRunning(t testing.TB, db *sql.DB, pattern string, n int) {
	t.Helper()
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	deadline := time.Now().Add(10 * time.Second)
	for {
		running := Count(t, db, `SELECT COUNT(*) FROM information_schema.processlist
			WHERE db = DATABASE() AND command = 'Query' AND id <> CONNECTION_ID() AND info LIKE ?`, pattern)
		if running == n {
			return
		}
		require.True(t, time.Now().Before(deadline), "%d of %d sessions are at %s", running, n, pattern)
		<-look.C
	}
}
