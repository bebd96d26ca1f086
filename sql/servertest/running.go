package servertest

import (
	"database/sql"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// AwaitRunning returns once n sessions of the schema of db run a statement with text in it, such as the name that sqlc
// writes into each. Sessions that wait for a locked row time out after some seconds and retry, so it may take several times
// that until all of them run it at once.
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
		require.True(t, time.Now().Before(deadline), "%d of %d sessions run %s", running, n, text)
		<-look.C
	}
}
