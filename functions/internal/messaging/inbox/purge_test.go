package inbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/inbox"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/messaging"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/transaction"
)

var retention = time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)

// remember stores n events as handled at a time.
func remember(t *testing.T, db *sql.DB, n int, at time.Time) {
	t.Helper()
	rows := make([]messaging.InsertHandledParams, n)
	for i := range rows {
		rows[i] = messaging.InsertHandledParams{Consumer: consumer, Source: "/orders", EventID: fmt.Sprintf("%s#%d", at, i), ProcessedAt: at}
	}
	require.NoError(t, messaging.New(db).InsertAllHandled(t.Context(), rows))
}

func TestPurgeDeletesRecordsOfEventsHandledLongAgo(t *testing.T) {
	db := mysqltest.Open(t, schema.Inventory)
	remember(t, db, 1201, retention.Add(-time.Microsecond))
	remember(t, db, 2, retention)
	remember(t, db, 3, retention.Add(time.Hour))

	n, err := inbox.Purge(t.Context(), db, retention)
	require.NoError(t, err)
	assert.EqualValues(t, 1201, n)
	assert.Equal(t, 5, handled(t, db))

	n, err = inbox.Purge(t.Context(), db, retention)
	require.NoError(t, err)
	assert.Zero(t, n)
}

func TestPurgeMeetsNoConsumer(t *testing.T) {
	db := mysqltest.Open(t, schema.Inventory)
	const old = 5000
	remember(t, db, old, retention.Add(-time.Hour))
	purging, finished := context.WithCancel(t.Context())
	var consumers, purges sync.WaitGroup
	for c := range 4 {
		consumers.Go(func() {
			for n := 0; purging.Err() == nil; n++ {
				runs := 0
				_, _, err := onceBy(t.Context(), db, consumer, incoming("/orders", fmt.Sprintf("order-%d#%d", c, n)),
					func(context.Context, *transaction.Tx) error {
						runs++
						return nil
					})
				assert.NoError(t, err)
				assert.Equal(t, 1, runs, "it had no reason to run again")
			}
		})
	}
	var deleted [2]int64
	for i := range deleted {
		purges.Go(func() {
			var err error
			deleted[i], err = inbox.Purge(t.Context(), db, retention)
			assert.NoError(t, err)
		})
	}
	purges.Wait()
	finished()
	consumers.Wait()
	assert.EqualValues(t, old, deleted[0]+deleted[1])
	assert.Zero(t, mysqltest.Count(t, db, "SELECT COUNT(*) FROM inbox WHERE processed_at < ?", retention))
}
