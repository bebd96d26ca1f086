package servertest

import (
	"database/sql"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// AwaitRunning returns once n sessions of the schema of db are at a statement with text in it, such as the name that
// sqlc writes into each. Where the row that the statement needs is held, they wait for it, and come again when the server
// gives them up after some seconds: until all of them are at it at once may take several times that.
func AwaitRunning(t testing.TB, db *sql.DB, text string, n int) {
	t.Helper()
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	deadline := time.Now().Add(time.Minute)
	for {
		sessions, err := Sessions(t.Context(), db)
		require.NoError(t, err)
		running := 0
		for _, s := range sessions {
			if strings.Contains(s.Statement, text) {
				running++
			}
		}
		if running == n {
			return
		}
		require.True(t, time.Now().Before(deadline), "%d of %d sessions are at %s", running, n, text)
		<-look.C
	}
}
