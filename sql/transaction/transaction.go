// Package transaction runs work in database transactions, with retries, so that all of it is committed or nothing.
//
// Its connections save round trips: a transaction begins together with its first statement, and a statement whose result is
// not needed can be deferred until the next one (see Tx.Deferred).
package transaction

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"example.com/orders/sql/dberror"
)

// ReadCommitted has the options of every transaction: it locks the rows that it reads for update, but no gaps between them.
// The connections of NewConnector are at this level already.
var ReadCommitted = &sql.TxOptions{Isolation: sql.LevelReadCommitted}

// Tx is a transaction.
type Tx struct {
	tx     *sql.Tx
	shared bool
}

// Shared returns whether the transaction is one of RunShared. An error of such a transaction is not the last word: what failed is
// tried again alone, so it may assume what is nearly always true.
func (t *Tx) Shared() bool { return t.shared }

// ExecContext runs a statement.
func (t *Tx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return t.tx.ExecContext(ctx, query, args...)
}

// QueryContext runs a query.
func (t *Tx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return t.tx.QueryContext(ctx, query, args...)
}

// QueryRowContext runs a query that returns at most one row.
func (t *Tx) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return t.tx.QueryRowContext(ctx, query, args...)
}

// PrepareContext prepares a statement.
func (t *Tx) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	return t.tx.PrepareContext(ctx, query)
}

// Deferred returns the transaction as a handle whose ExecContext defers the statement until the next statement of the
// transaction, or its commit: one round trip for both. The call that sends a deferred statement returns its error; its
// affected count is unknown.
func (t *Tx) Deferred() Deferred { return Deferred{Tx: t} }

// DeferredInsert is Deferred for one INSERT: once the transaction is committed, id is the first one that the server has given to
// its rows. It stays as it is if the statement was sent ahead of a query, whose answer does not tell it.
func (t *Tx) DeferredInsert(id *int64) Deferred { return Deferred{t, id} }

// Deferred is a Tx whose statements are deferred.
type Deferred struct {
	*Tx

	id *int64
}

// ExecContext defers a statement.
func (d Deferred) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return d.tx.ExecContext(context.WithValue(ctx, deferredKey{}, d.id), query, args...)
}

// MustHaveChanged defers a check of the deferred statement before it: unless that has changed n rows, the check fails, so that
// nothing is committed. An INSERT has changed as many rows as it has inserted.
func (t *Tx) MustHaveChanged(ctx context.Context, n int) error {
	_, err := t.Deferred().ExecContext(ctx, mustHaveChanged, n)
	return err
}

// mustHaveChanged fails with error 1690, out of range, if another number of rows was changed: MySQL has no statement for that outside
// stored programs.
const mustHaveChanged = "-- name: MustHaveChanged :exec\nSET @must_have_changed = POW(IF(ROW_COUNT() = ?, 0, 10), 999)"

// deferredKey marks a deferred statement in the ctx, the only way through database/sql from a Deferred to its session. Its value
// is where the first id of an INSERT goes, a nil *int64 if nobody asks.
type deferredKey struct{}

// tries bounds the runs of a transaction with transient errors; firstWait precedes the second one. Eight tries take about a
// second: enough for deadlocks and for a cut connection, and less than a caller waits.
const (
	tries     = 8
	firstWait = 5 * time.Millisecond
)

// Once runs work in one transaction at READ COMMITTED, and commits unless work returns an error. If ctx ends before the
// commit, nothing is committed. If the connection is lost during the commit, its outcome is unknown.
func Once(ctx context.Context, db *sql.DB, work func(context.Context, *Tx) error) error {
	return once(ctx, false, db, work)
}

func once(ctx context.Context, shared bool, db *sql.DB, work func(context.Context, *Tx) error) error {
	tx, err := db.BeginTx(ctx, ReadCommitted)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // without effect after a commit
	if err := work(ctx, &Tx{tx, shared}); err != nil {
		return err
	}
	if err := commit(ctx, tx); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// Run is Once with retries: after a deadlock, a lock wait timeout or a lost connection it runs all of work again, after a
// wait with jitter. So work must set its results anew each time. If the connection was lost during the commit, the first
// attempt may have been committed: work must detect that by what it reads or by a unique key.
func Run(ctx context.Context, db *sql.DB, work func(context.Context, *Tx) error) error {
	return retry(ctx, false, db, work)
}

// RunShared is Run for a batch, each of whose members the caller tries again alone, by Run, if it fails. It does not retry a lock
// wait timeout, since a row that one of them needs would hold up all others.
func RunShared(ctx context.Context, db *sql.DB, work func(context.Context, *Tx) error) error {
	return retry(ctx, true, db, work)
}

// retryable returns whether an immediate retry may succeed after err: not if the server is full.
func retryable(err error, shared bool) bool {
	return dberror.IsTransient(err) && !dberror.IsFull(err) && (!shared || !dberror.IsLockWaitTimeout(err))
}

// retry runs a transaction until it succeeds or its error is not retryable.
func retry(ctx context.Context, shared bool, db *sql.DB, work func(context.Context, *Tx) error) error {
	for try := 1; ; try++ {
		err := once(ctx, shared, db, work)
		if err == nil || !retryable(err, shared) || try == tries {
			return err
		}
		wait := time.NewTimer(rand.N(firstWait << try))
		select {
		case <-ctx.Done():
			wait.Stop()
			return err
		case <-wait.C:
		}
	}
}

// commit commits a transaction that was begun with ctx. If ctx has ended, database/sql may have rolled back and says only
// that the transaction is done: the error of ctx replaces that.
func commit(ctx context.Context, tx *sql.Tx) error {
	err := tx.Commit()
	if errors.Is(err, sql.ErrTxDone) && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
