package outbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/transaction"
)

// fill stores n rows sent on 1 January 2026; one in a hundred is parked, and one is new.
func fill(t *testing.T, db *sql.DB, n int) {
	t.Helper()
	const digits = "(SELECT 0 d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9)"
	for from := 0; from < n; from += 100_000 {
		// The shard does not belong to the aggregate, which makes no difference to a relay.
		exec(t, db, `INSERT INTO outbox (shard, aggregate_type, aggregate_id, type, payload, headers, status, created_at, sent_at, attempts)
			SELECT n % 8, 'ORDER', CONCAT('filled-', n), 'order.created', '{}',
				CONCAT('{"id":"filled-', n, '#1","source":"/orders","subject":"filled-', n, '","time":"2026-01-01T00:00:00Z","datacontenttype":"application/json"}'),
				CASE n % 100 WHEN 0 THEN 'ERROR' WHEN 1 THEN 'NEW' ELSE 'SENT' END, '2026-01-01',
				CASE WHEN n % 100 > 1 THEN '2026-01-01 00:00:01' END, n % 100 = 0
			FROM (SELECT ? + a.d + 10 * b.d + 100 * c.d + 1000 * d.d + 10000 * e.d AS n FROM `+digits+` a, `+digits+` b, `+digits+` c, `+digits+` d, `+digits+` e) numbers
			WHERE n < ? ORDER BY n`, from, n)
	}
}

var (
	retention = time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
	old       = retention.Add(-time.Hour)
)

func TestPurgeDeletesEventsSentLongAgo(t *testing.T) {
	cases := map[string]struct {
		status          string
		created, sent   time.Time
		wantsForgetting bool
	}{
		"sent long ago":                 {"SENT", old, old, true},
		"sent just now":                 {"SENT", old, retention.Add(time.Hour), false},
		"sent at the moment itself":     {"SENT", old, retention, false},
		"new":                           {"NEW", old, time.Time{}, false},
		"waiting or parked":             {"ERROR", old, time.Time{}, false},
		"sent and later put back again": {"NEW", old, old, false},
	}
	db := mysqltest.Open(t, schema.Orders)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			exec(t, db, "DELETE FROM outbox")
			store(t, db, fact("a", 1), fact("b", 1))
			exec(t, db, "UPDATE outbox SET created_at = ?", old)
			exec(t, db, "UPDATE outbox SET status = ?, created_at = ?, sent_at = ? WHERE aggregate_id = 'a'",
				c.status, c.created, sql.NullTime{Time: c.sent, Valid: !c.sent.IsZero()})
			n, err := outbox.Purge(t.Context(), db, retention)
			require.NoError(t, err)
			assert.Equal(t, c.wantsForgetting, n == 1)
			assert.Equal(t, c.wantsForgetting, mysqltest.Count(t, db, "SELECT COUNT(*) FROM outbox WHERE aggregate_id = 'a'") == 0)
			assert.Equal(t, 1, mysqltest.Count(t, db, "SELECT COUNT(*) FROM outbox WHERE aggregate_id = 'b'"))
		})
	}
}

func TestPurgeOfAnEmptyOutboxDoesNothing(t *testing.T) {
	n, err := outbox.Purge(t.Context(), mysqltest.Open(t, schema.Orders), retention)
	require.NoError(t, err)
	assert.Zero(t, n)
}

func TestPurgeSkipsRowsThatStay(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	fill(t, db, 5000)
	exec(t, db, "UPDATE outbox SET status = 'ERROR' WHERE id <= 2500")                           // more than one step of rows that stay
	exec(t, db, "DELETE FROM outbox WHERE aggregate_id BETWEEN 'filled-3000' AND 'filled-3999'") // and a gap
	deletable := mysqltest.Count(t, db, "SELECT COUNT(*) FROM outbox WHERE status = 'SENT'")

	n, err := outbox.Purge(t.Context(), db, retention)

	require.NoError(t, err)
	assert.EqualValues(t, deletable, n)
	assert.Zero(t, mysqltest.Count(t, db, "SELECT COUNT(*) FROM outbox WHERE status = 'SENT'"))
}

// rows is the size of the outbox in the purge test: 100,000, or a million with ORDERS_TEST_LARGE.
func rows() int {
	if os.Getenv("ORDERS_TEST_LARGE") != "" {
		return 1_000_000
	}
	return 100_000
}

func TestPurgeMeetsNoWriterAndNoRelay(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	n := rows()
	fill(t, db, n)
	purging, finished := context.WithCancel(t.Context())
	var others, purges sync.WaitGroup
	var stored atomic.Int64
	// No error is allowed: no writer may lose a deadlock to the purge.
	for w := range 4 {
		others.Go(func() {
			for i := 0; purging.Err() == nil; i++ {
				name := fmt.Sprintf("written-%d-%d", w, i)
				if !assert.NoError(t, transaction.Once(t.Context(), db, func(ctx context.Context, tx *transaction.Tx) error {
					for k := range 2 {
						if _, err := outbox.Append(ctx, tx, time.Now(), []event.Event{fact(name, 2*k+1), fact(name, 2*k+2)}); err != nil {
							return err
						}
					}
					return nil
				})) {
					return
				}
				stored.Add(4)
			}
		})
	}
	b := &broker{t: t}
	for range 2 {
		others.Go(func() {
			for purging.Err() == nil {
				if _, err := relay(db, b).Sweep(t.Context()); !assert.NoError(t, err) {
					return
				}
			}
		})
	}
	var deleted atomic.Int64
	for range 2 { // the purge ticks may overlap
		purges.Go(func() {
			n, err := outbox.Purge(t.Context(), db, retention)
			assert.NoError(t, err)
			deleted.Add(n)
		})
	}
	purges.Wait()
	finished()
	others.Wait()
	sweep(t, db, b)

	assert.EqualValues(t, n/100*98, deleted.Load())
	assert.Equal(t, n/100, mysqltest.Count(t, db, "SELECT COUNT(*) FROM outbox WHERE status = 'ERROR'"))
	assert.EqualValues(t, int64(n/100)+stored.Load(), mysqltest.Count(t, db, "SELECT COUNT(*) FROM outbox WHERE status = 'SENT'"))
	assert.Positive(t, stored.Load())
}
