package transaction_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/sql/dberror"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/servertest"
	"example.com/orders/sql/transaction"
)

// open returns a pool of connections to a new schema that has one table.
func open(t *testing.T, server schema.Server) *sql.DB {
	t.Helper()
	return servertest.Table(t, server, "facts (id INT PRIMARY KEY, name VARCHAR(4) NULL, at DATETIME(6) NULL)")
}

func TestSessionHasTheSettingsThatTheQueriesRelyOn(t *testing.T) {
	server := servertest.Empty(t)
	// The DSN's other settings have no effect.
	server.DSN += "?clientFoundRows=true&loc=Asia%2FTokyo&parseTime=false&time_zone=%27%2B05%3A00%27&sql_mode=%27%27"
	server.Idle = 7 * time.Second
	db := open(t, server)

	var zone, mode string
	var lockWait, idle int
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT @@time_zone, @@sql_mode, @@innodb_lock_wait_timeout, @@wait_timeout").Scan(&zone, &mode, &lockWait, &idle))
	assert.Equal(t, "+00:00", zone)
	assert.Contains(t, mode, "STRICT_TRANS_TABLES")
	assert.Equal(t, 2, lockWait)
	assert.Equal(t, 7, idle)

	servertest.Exec(t, db, "INSERT INTO facts (id, name) VALUES (1, 'four')")
	_, err := db.ExecContext(t.Context(), "INSERT INTO facts (id, name) VALUES (2, 'fives')")
	assert.Error(t, err, "what does not fit is refused and not cut")
	_, err = db.ExecContext(t.Context(), "INSERT INTO facts (id, at) VALUES (2, '0000-00-00')")
	assert.Error(t, err, "a zero date is refused")
	assert.Zero(t, servertest.Exec(t, db, "UPDATE facts SET name = 'four' WHERE id = 1"), "a row that stays as it is does not count")
	assert.EqualValues(t, 1, servertest.Exec(t, db, "UPDATE facts SET name = 'six' WHERE id = 1"))
	assert.Zero(t, servertest.Exec(t, db, "INSERT INTO facts (id) VALUES (1) ON DUPLICATE KEY UPDATE id = id"), "a duplicate does not count")
}

func TestTimesAreUTCInAnyZone(t *testing.T) {
	db := open(t, servertest.Empty(t))
	tokyo, err := time.LoadLocation("Asia/Tokyo")
	require.NoError(t, err)
	here := time.Local
	time.Local = tokyo
	t.Cleanup(func() { time.Local = here })

	at := time.Date(2026, 3, 29, 2, 30, 0, 123456789, time.Local)
	servertest.Exec(t, db, "INSERT INTO facts (id, at) VALUES (1, ?)", at)

	var read time.Time
	var text string
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT at, CAST(at AS CHAR) FROM facts").Scan(&read, &text))
	assert.Equal(t, "2026-03-28 17:30:00.123456", text)
	assert.Equal(t, at.UTC().Truncate(time.Microsecond), read, "cut as the column has it, and not rounded")
	var server time.Time
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT NOW(6)").Scan(&server))
	assert.WithinDuration(t, time.Now(), server, time.Minute, "the server's clock is read as UTC too")
}

func TestReadCommittedSeesCommitsOfOthers(t *testing.T) {
	db := open(t, servertest.Empty(t))
	servertest.Exec(t, db, "INSERT INTO facts (id, name) VALUES (1, 'old')")
	name := func(tx *sql.Tx) (name string) {
		require.NoError(t, tx.QueryRowContext(t.Context(), "SELECT name FROM facts WHERE id = 1").Scan(&name))
		return name
	}
	tx, err := db.BeginTx(t.Context(), transaction.ReadCommitted)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()

	require.Equal(t, "old", name(tx))
	servertest.Exec(t, db, "UPDATE facts SET name = 'new' WHERE id = 1")
	assert.Equal(t, "new", name(tx))
	// And no gap is locked: another transaction may insert into the range that this one has read.
	var ids int
	require.NoError(t, tx.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM (SELECT id FROM facts WHERE id >= 1 FOR UPDATE) l").Scan(&ids))
	servertest.Exec(t, db, "INSERT INTO facts (id) VALUES (2)")
}

func TestASilentConnectionIsClosedByTheServer(t *testing.T) {
	server := servertest.Empty(t)
	server.Idle = time.Second
	db := open(t, server)
	tx, err := db.BeginTx(t.Context(), transaction.ReadCommitted)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	servertest.Exec(t, tx, "INSERT INTO facts (id) VALUES (1)")

	// The insert waits for the row of the idle transaction until the server has ended that one: on a slow machine longer
	// than the lock wait timeout.
	for err = errors.New("not yet"); err != nil; {
		_, err = db.ExecContext(t.Context(), "INSERT INTO facts (id) VALUES (1)")
		require.True(t, err == nil || dberror.IsLockWaitTimeout(err), "%v", err)
	}

	_, err = tx.ExecContext(t.Context(), "UPDATE facts SET name = 'late' WHERE id = 1")
	assert.True(t, dberror.IsTransient(err), "%v", err)
}

func count(t *testing.T, db *sql.DB) (n int) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM facts").Scan(&n))
	return n
}

// later executes a statement that must be deferred.
func later(t *testing.T, tx *transaction.Tx, query string, args ...any) {
	t.Helper()
	result, err := tx.Deferred().ExecContext(t.Context(), query, args...)
	require.NoError(t, err)
	_, err = result.RowsAffected()
	require.Error(t, err, "not known yet")
}

// errUndo rolls a transaction back.
var errUndo = errors.New("undo")

// The first statement of a transaction also begins it: whatever it is, a rollback undoes it.
func TestATransactionBeginsWithItsFirstStatement(t *testing.T) {
	insert := func(t *testing.T, tx *transaction.Tx) {
		t.Helper()
		assert.EqualValues(t, 2, servertest.Exec(t, tx, "-- name: InsertFacts :exec\nINSERT INTO facts (id) VALUES (?), (?)", 1, 2))
	}
	cases := map[string]func(t *testing.T, tx *transaction.Tx){
		"a change": insert,
		"a question": func(t *testing.T, tx *transaction.Tx) {
			t.Helper()
			var one, name string
			require.NoError(t, tx.QueryRowContext(t.Context(), "SELECT 1, ?", "it's; -- this").Scan(&one, &name))
			assert.Equal(t, "it's; -- this", name)
			insert(t, tx)
		},
		"a question without an answer": func(t *testing.T, tx *transaction.Tx) {
			t.Helper()
			assert.ErrorIs(t, tx.QueryRowContext(t.Context(), "SELECT id FROM facts WHERE id = ?", 7).Scan(new(int)), sql.ErrNoRows)
			insert(t, tx)
		},
		"a prepared statement": func(t *testing.T, tx *transaction.Tx) {
			t.Helper()
			stmt, err := tx.PrepareContext(t.Context(), "INSERT INTO facts (id) VALUES (?), (?)")
			require.NoError(t, err)
			defer func() { require.NoError(t, stmt.Close()) }()
			_, err = stmt.ExecContext(t.Context(), 1, 2)
			require.NoError(t, err)
		},
		"a change that waits": func(t *testing.T, tx *transaction.Tx) {
			t.Helper()
			later(t, tx, "INSERT INTO facts (id) VALUES (?), (?)", 1, 2)
		},
		"a change that waits for another": func(t *testing.T, tx *transaction.Tx) {
			t.Helper()
			later(t, tx, "-- name: One :exec\nINSERT INTO facts (id, name) VALUES (?, ?)", 1, "a;?")
			later(t, tx, "INSERT INTO facts (id) VALUES (?)", 2)
			assert.EqualValues(t, 1, servertest.Exec(t, tx, "UPDATE facts SET name = 'b' WHERE name = ?", "a;?"))
		},
		"a change that waits for a question": func(t *testing.T, tx *transaction.Tx) {
			t.Helper()
			later(t, tx, "INSERT INTO facts (id) VALUES (?), (?)", 1, 2)
			rows, err := tx.QueryContext(t.Context(), "SELECT id FROM facts ORDER BY id")
			require.NoError(t, err)
			defer func() { require.NoError(t, rows.Close()) }()
			for id := 1; rows.Next(); id++ {
				var got int
				require.NoError(t, rows.Scan(&got))
				assert.Equal(t, id, got)
			}
			require.NoError(t, rows.Err())
		},
		"a change that waits for a prepared one": func(t *testing.T, tx *transaction.Tx) {
			t.Helper()
			later(t, tx, "INSERT INTO facts (id) VALUES (?)", 1)
			stmt, err := tx.PrepareContext(t.Context(), "INSERT INTO facts (id) VALUES (?)")
			require.NoError(t, err)
			defer func() { require.NoError(t, stmt.Close()) }()
			_, err = stmt.ExecContext(t.Context(), 2)
			require.NoError(t, err)
		},
		"a statement that fails": func(t *testing.T, tx *transaction.Tx) {
			t.Helper()
			_, err := tx.ExecContext(t.Context(), "INSERT INTO nowhere (id) VALUES (?)", 1)
			require.ErrorContains(t, err, "nowhere")
			_, err = tx.QueryContext(t.Context(), "SELECT id FROM nowhere") //nolint:rowserrcheck,sqlclosecheck // there are no rows
			require.ErrorContains(t, err, "nowhere")
			insert(t, tx)
		},
		"a question that fails": func(t *testing.T, tx *transaction.Tx) {
			t.Helper()
			_, err := tx.QueryContext(t.Context(), "SELECT id FROM nowhere") //nolint:rowserrcheck,sqlclosecheck // there are no rows
			require.ErrorContains(t, err, "nowhere")
			insert(t, tx)
		},
	}
	for name, work := range cases {
		t.Run(name, func(t *testing.T) {
			db := open(t, servertest.Empty(t))
			for end, want := range map[error]int{errUndo: 0, nil: 2} {
				require.ErrorIs(t, transaction.Once(t.Context(), db, func(_ context.Context, tx *transaction.Tx) error {
					work(t, tx)
					assert.Zero(t, count(t, db), "invisible before the commit")
					return end
				}), end)
				assert.Equal(t, want, count(t, db))
				servertest.Exec(t, db, "DELETE FROM facts WHERE id = 2")
				servertest.Exec(t, db, "DELETE FROM facts WHERE id = 1") // outside of the transaction
				assert.Zero(t, count(t, db))
			}
		})
	}
}

func TestATransactionWithoutAStatementLeavesNothingBehind(t *testing.T) {
	server := servertest.Empty(t)
	others := open(t, server)
	db, err := server.Open(schema.Orders, 1)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	for id, end := range []func(*sql.Tx) error{(*sql.Tx).Commit, (*sql.Tx).Rollback} {
		tx, err := db.BeginTx(t.Context(), transaction.ReadCommitted)
		require.NoError(t, err)
		require.NoError(t, end(tx))
		servertest.Exec(t, db, "INSERT INTO facts (id) VALUES (?)", id)
		assert.Equal(t, id+1, count(t, others), "what the same connection does next is no part of it")
	}
}

func TestATransactionThatIsCanceledIsUndone(t *testing.T) {
	db := open(t, servertest.Empty(t))
	for _, rolledBack := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		require.ErrorIs(t, transaction.Once(ctx, db, func(_ context.Context, tx *transaction.Tx) error {
			servertest.Exec(t, tx, "INSERT INTO facts (id) VALUES (1)")
			cancel()
			var err error
			for rolledBack && !errors.Is(err, sql.ErrTxDone) {
				_, err = tx.ExecContext(t.Context(), "DO 1")
			}
			return nil
		}), context.Canceled)
		assert.Zero(t, count(t, db))
	}
	servertest.Exec(t, db, "INSERT INTO facts (id) VALUES (1)")
}

func TestATransactionHasTheLevelThatItAsksFor(t *testing.T) {
	db := open(t, servertest.Empty(t))
	for level, sees := range map[sql.IsolationLevel]bool{sql.LevelDefault: true, sql.LevelReadCommitted: true, sql.LevelRepeatableRead: false} {
		servertest.Exec(t, db, "DELETE FROM facts")
		tx, err := db.BeginTx(t.Context(), &sql.TxOptions{Isolation: level})
		require.NoError(t, err)
		var before, after int
		require.NoError(t, tx.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM facts").Scan(&before))
		servertest.Exec(t, db, "INSERT INTO facts (id) VALUES (1)")
		require.NoError(t, tx.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM facts").Scan(&after))
		assert.Equal(t, sees, after > before, "%v", level)
		require.NoError(t, tx.Rollback())
	}
	tx, err := db.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), "INSERT INTO facts (id) VALUES (2)")
	assert.Error(t, err, "it may only read")
	require.NoError(t, tx.Rollback())
}

func TestAStatementThatWaitedAndFailsCommitsNothing(t *testing.T) {
	send := map[string]func(*transaction.Tx) error{
		"the commit": func(*transaction.Tx) error { return nil },
		"a change": func(tx *transaction.Tx) error {
			_, err := tx.ExecContext(t.Context(), "INSERT INTO facts (id) VALUES (9)")
			return err
		},
		"a question": func(tx *transaction.Tx) error {
			return tx.QueryRowContext(t.Context(), "SELECT id FROM facts").Scan(new(int))
		},
		"a prepared statement": func(tx *transaction.Tx) error {
			_, err := tx.PrepareContext(t.Context(), "SELECT 1") //nolint:sqlclosecheck // there is none
			return err
		},
	}
	for name, send := range send {
		t.Run(name, func(t *testing.T) {
			server := servertest.Empty(t)
			others := open(t, server)
			servertest.Exec(t, others, "INSERT INTO facts (id) VALUES (2)")
			db, err := server.Open(schema.Orders, 1)
			require.NoError(t, err)
			defer func() { require.NoError(t, db.Close()) }()

			err = transaction.Once(t.Context(), db, func(_ context.Context, tx *transaction.Tx) error {
				for id := range 4 {
					later(t, tx, "INSERT INTO facts (id) VALUES (?)", id)
				}
				return send(tx)
			})

			assert.True(t, dberror.IsDuplicate(err))
			assert.Equal(t, 1, count(t, others))
			servertest.Exec(t, db, "INSERT INTO facts (id) VALUES (0)") // on the same connection, which is in no transaction
			assert.Equal(t, 2, count(t, others))
		})
	}
}

func TestNothingIsCommittedUnlessTheStatementBeforeHasChangedAsManyRows(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		args []any
		rows int
	}{
		"an UPDATE of two rows":          {"UPDATE facts SET name = ? WHERE id IN (1, 2)", []any{"new"}, 2},
		"an UPDATE of a row that is not": {"UPDATE facts SET name = ? WHERE id = 9", []any{"new"}, 0},
		"an UPDATE that changes nothing": {"UPDATE facts SET name = ? WHERE id = 1", []any{"old"}, 0},
		"an INSERT of two rows":          {"INSERT INTO facts (id, name) VALUES (3, ?), (4, 'new')", []any{"new"}, 2},
		"a DELETE of a row":              {"DELETE FROM facts WHERE id = ?", []any{1}, 1},
	} {
		together := func(t *testing.T, rest string) {
			t.Helper()
			server := servertest.Empty(t)
			server.DSN += "?maxAllowedPacket=600"
			db := open(t, server)
			servertest.Exec(t, db, "INSERT INTO facts (id, name) VALUES (1, 'old'), (2, 'old')")
			commit := func(n int) error {
				return transaction.Once(t.Context(), db, func(ctx context.Context, tx *transaction.Tx) error {
					later(t, tx, "INSERT INTO facts (id, name) VALUES (?, 'kept')", 100)
					later(t, tx, c.text+rest, c.args...)
					require.NoError(t, tx.MustHaveChanged(ctx, n))
					later(t, tx, "INSERT INTO facts (id, name) VALUES (?, 'kept')", 101)
					return nil
				})
			}
			kept := func() (n int) {
				require.NoError(t, db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM facts WHERE name IN ('new', 'kept')").Scan(&n))
				return n
			}
			for _, wrong := range []int{c.rows - 1, c.rows + 1} {
				err := commit(wrong)
				require.True(t, dberror.IsServer(err), "%v", err)
				assert.ErrorContains(t, err, "MustHaveChanged")
				assert.False(t, dberror.IsTransient(err), "%v", err)
				assert.Zero(t, kept())
			}
			require.NoError(t, commit(c.rows))
			assert.GreaterOrEqual(t, kept(), 2)
		}
		t.Run(name, func(t *testing.T) { together(t, "") })
		t.Run(name+", one at a time", func(t *testing.T) { together(t, strings.Repeat(" ", 400)) })
	}
}

func TestEachRoundTripHasItsOwnArguments(t *testing.T) {
	db := open(t, servertest.Empty(t))
	db.SetMaxOpenConns(1) // so that all transactions have one session
	for id, names := range [][]string{{"a", "b", "c"}, {"d"}, {"e", "f"}} {
		require.NoError(t, transaction.Once(t.Context(), db, func(ctx context.Context, tx *transaction.Tx) error {
			for n, name := range names {
				later(t, tx, "INSERT INTO facts (id, name) VALUES (?, ?)", 10*id+n, name)
			}
			var last string
			require.NoError(t, tx.QueryRowContext(ctx, "SELECT name FROM facts WHERE id = ?", 10*id+len(names)-1).Scan(&last))
			assert.Equal(t, names[len(names)-1], last)
			later(t, tx, "UPDATE facts SET at = ? WHERE id = ?", time.Now(), 10*id)
			return nil
		}))
	}
	var all string
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT GROUP_CONCAT(id, name, at IS NOT NULL ORDER BY id) FROM facts").Scan(&all))
	assert.Equal(t, "0a1,1b0,2c0,10d1,20e1,21f0", all)
}

func TestARollbackForgetsWhatWaits(t *testing.T) {
	db := open(t, servertest.Empty(t))
	db.SetMaxOpenConns(1)
	for range 2 {
		require.ErrorIs(t, transaction.Once(t.Context(), db, func(_ context.Context, tx *transaction.Tx) error {
			later(t, tx, "INSERT INTO facts (id) VALUES (1)")
			return errUndo
		}), errUndo)
		require.NoError(t, transaction.Once(t.Context(), db, func(_ context.Context, tx *transaction.Tx) error {
			servertest.Exec(t, tx, "UPDATE facts SET name = 'x' WHERE id = 1")
			return nil
		}))
		assert.Zero(t, count(t, db))
	}
}

func TestTheErrorOfStatementsThatGoTogetherNamesThem(t *testing.T) {
	db := open(t, servertest.Empty(t))
	servertest.Exec(t, db, "INSERT INTO facts (id) VALUES (2)")
	err := transaction.Once(t.Context(), db, func(_ context.Context, tx *transaction.Tx) error {
		later(t, tx, "-- name: InsertFact :exec\nINSERT INTO facts (id) VALUES (?)", 1)
		later(t, tx, "INSERT INTO facts (id) VALUES (?)", 2)
		return nil
	})
	require.ErrorContains(t, err, "(in one of InsertFact, INSERT INTO facts, COMMIT)")
	assert.True(t, dberror.IsDuplicate(err))

	err = transaction.Once(t.Context(), db, func(ctx context.Context, tx *transaction.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO facts (id) VALUES (2)")
		return err
	})
	require.ErrorContains(t, err, "Duplicate")
	assert.NotContains(t, err.Error(), "in one of", "it is that of its caller")
}

// If they are longer than the driver sends at once, statements go one at a time, and one that is too long alone fails alone.
func TestStatementsTooLongForOneTextAreSentOneAtATime(t *testing.T) {
	server := servertest.Empty(t)
	server.DSN += "?maxAllowedPacket=600"
	db := open(t, server)
	require.NoError(t, transaction.Once(t.Context(), db, func(_ context.Context, tx *transaction.Tx) error {
		for id := range 3 {
			later(t, tx, "INSERT INTO facts (id) SELECT ? FROM DUAL WHERE ? <> ''", id, strings.Repeat("x", 250))
		}
		assert.EqualValues(t, 1, servertest.Exec(t, tx, "INSERT INTO facts (id) VALUES (?)", 3))
		return nil
	}))
	assert.Equal(t, 4, count(t, db))
}
