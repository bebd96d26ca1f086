package outbox_test

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/dberror"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/servertest"
	"example.com/orders/sql/transaction"
)

// add counts a run of the work, in a row of the transaction that commits.
const add = "INSERT INTO inbox (consumer, source, event_id, processed_at) VALUES ('test', '/orders', ?, NOW(6))"

func TestTransactRunsAllOfTheWorkAgainAfterATransientError(t *testing.T) {
	// Each makes the first run of a transaction fail, before or during statement.
	cases := map[string]func(t *testing.T, db *sql.DB, tx *transaction.Tx) error{
		"a lock that takes too long": func(t *testing.T, db *sql.DB, tx *transaction.Tx) error {
			t.Helper()
			holder, err := db.BeginTx(t.Context(), transaction.ReadCommitted)
			require.NoError(t, err)
			defer func() { _ = holder.Rollback() }()
			_, err = holder.ExecContext(t.Context(), "SELECT shard FROM outbox_shards WHERE shard = 1 FOR UPDATE")
			require.NoError(t, err)
			_, err = tx.ExecContext(t.Context(), "SET innodb_lock_wait_timeout = 1")
			require.NoError(t, err)
			_, err = tx.ExecContext(t.Context(), "SELECT shard FROM outbox_shards WHERE shard = 1 FOR UPDATE")
			assert.True(t, dberror.IsLockWaitTimeout(err), "%v", err)
			return err
		},
		"a connection killed between statements": func(t *testing.T, db *sql.DB, tx *transaction.Tx) error {
			t.Helper()
			kill(t, db, connection(t, tx))
			_, err := tx.ExecContext(t.Context(), "DO 1")
			assert.Error(t, err)
			return err
		},
		"a connection killed during a statement": func(t *testing.T, db *sql.DB, tx *transaction.Tx) error {
			t.Helper()
			id := connection(t, tx)
			var killer sync.WaitGroup
			killer.Go(func() {
				servertest.AwaitRunning(t, db, "SELECT SLEEP", 1)
				kill(t, db, id)
			})
			_, err := tx.ExecContext(t.Context(), "SELECT SLEEP(30)")
			killer.Wait()
			assert.Error(t, err)
			return err
		},
		"a connection killed before the commit": func(t *testing.T, db *sql.DB, tx *transaction.Tx) error {
			t.Helper()
			kill(t, db, connection(t, tx))
			return nil // the commit will fail
		},
	}
	for name, fail := range cases {
		t.Run(name, func(t *testing.T) {
			db := mysqltest.Open(t, schema.Orders)
			runs := 0
			shards, err := outbox.Store{DB: db, Now: time.Now}.Transact(t.Context(), func(ctx context.Context, tx *transaction.Tx) ([]event.Event, error) {
				runs++
				if _, err := tx.ExecContext(ctx, add, "a#1"); err != nil {
					return nil, err
				}
				if runs == 1 {
					if err := fail(t, db, tx); err != nil {
						return nil, err
					}
				}
				return []event.Event{fact("a", runs)}, nil
			})
			require.NoError(t, err)
			assert.Equal(t, 2, runs)
			assert.Equal(t, []uint8{outbox.Shard("a")}, shards)
			assert.Equal(t, 1, mysqltest.Count(t, db, "SELECT COUNT(*) FROM inbox"))
			assert.Equal(t, 1, mysqltest.Count(t, db, "SELECT COUNT(*) FROM outbox"))
			assert.Equal(t, "NEW", stored(t, db, fact("a", 2)).status)
		})
	}
}

func connection(t *testing.T, tx *transaction.Tx) (id int) {
	t.Helper()
	require.NoError(t, tx.QueryRowContext(t.Context(), "SELECT CONNECTION_ID()").Scan(&id))
	return id
}

func kill(t testing.TB, db *sql.DB, id int) {
	t.Helper()
	exec(t, db, "KILL ?", id)
}

func TestDeadlocksAreInvisibleToTheCaller(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	exec(t, db, add, "a")
	exec(t, db, add, "b")
	var both, all sync.WaitGroup
	both.Add(2)
	var errs [2]error
	var runs [2]int
	for i, ids := range [][]string{{"a", "b"}, {"b", "a"}} {
		all.Go(func() {
			_, errs[i] = outbox.Store{DB: db, Now: time.Now}.Transact(t.Context(), func(ctx context.Context, tx *transaction.Tx) ([]event.Event, error) {
				runs[i]++
				for n, id := range ids {
					if _, err := tx.ExecContext(ctx, "UPDATE inbox SET processed_at = TIMESTAMPADD(SECOND, 1, processed_at) WHERE event_id = ?", id); err != nil {
						return nil, err
					}
					if n == 0 && runs[i] == 1 {
						both.Done()
						both.Wait() // each has the row that the other will ask for
					}
				}
				return []event.Event{fact(ids[0], 1)}, nil
			})
		})
	}
	all.Wait()
	assert.NoError(t, errs[0])
	assert.NoError(t, errs[1])
	assert.Equal(t, 3, runs[0]+runs[1], "one of them ran again")
	assert.Equal(t, 2, mysqltest.Count(t, db, "SELECT COUNT(*) FROM outbox"))
}

func TestTransactReportsThatItsCallerIsGone(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := outbox.Store{DB: db, Now: time.Now}.Transact(ctx, func(ctx context.Context, tx *transaction.Tx) ([]event.Event, error) {
		_, err := tx.ExecContext(ctx, add, "a")
		require.NoError(t, err)
		cancel()
		for !errors.Is(err, sql.ErrTxDone) { // until database/sql has rolled back
			_, err = tx.ExecContext(t.Context(), "DO 1")
		}
		return nil, nil
	})
	require.ErrorIs(t, err, context.Canceled)
	assert.Zero(t, mysqltest.Count(t, db, "SELECT COUNT(*) FROM inbox"))
}

func TestTransactGivesUpInTheEnd(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	deadlock := &mysql.MySQLError{Number: 1213, Message: "deadlock"}
	runs := 0
	_, err := outbox.Store{DB: db, Now: time.Now}.Transact(t.Context(), func(context.Context, *transaction.Tx) ([]event.Event, error) {
		runs++
		return nil, deadlock
	})
	assert.ErrorIs(t, err, deadlock)
	assert.Equal(t, 8, runs)
}

func TestTransactEndsWithItsContext(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	ctx, cancel := context.WithCancel(t.Context())
	runs := 0
	_, err := outbox.Store{DB: db, Now: time.Now}.Transact(ctx, func(context.Context, *transaction.Tx) ([]event.Event, error) {
		runs++
		cancel()
		return nil, &mysql.MySQLError{Number: 1213, Message: "deadlock"}
	})
	assert.Error(t, err)
	assert.Equal(t, 1, runs)
}
