// Package transaction runs work in transactions of the database. What goes in is the work; what comes out is that all of it
// is committed, or nothing.
//
// Its connections save round trips: a transaction begins together with its first statement, and a statement whose answer
// nobody needs can wait for the next one (see Tx.Deferred).
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

// ReadCommitted is how every transaction of a service begins: locks are taken on the rows that are read for update
// and on no gaps between them. The connections of NewConnector are at this level already.
var ReadCommitted = &sql.TxOptions{Isolation: sql.LevelReadCommitted}

// Tx is a transaction, for the work that is done in it.
type Tx struct{ tx *sql.Tx }

// ExecContext runs a statement.
func (t *Tx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return t.tx.ExecContext(ctx, query, args...)
}

// QueryContext runs a statement that answers with rows.
func (t *Tx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return t.tx.QueryContext(ctx, query, args...)
}

// QueryRowContext runs a statement that answers with one row at most.
func (t *Tx) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return t.tx.QueryRowContext(ctx, query, args...)
}

// PrepareContext prepares a statement.
func (t *Tx) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	return t.tx.PrepareContext(ctx, query)
}

// Deferred returns the transaction as a handle whose ExecContext lets the statement wait for the next one of the
// transaction, or for its commit, and go to the server together with it: one round trip for both. The error of the
// statement is that of the call that sends it, and its count of rows is not known.
func (t *Tx) Deferred() Deferred { return Deferred{t} }

// Deferred is a Tx whose statements wait.
type Deferred struct{ *Tx }

// ExecContext lets a statement wait.
func (d Deferred) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return d.tx.ExecContext(context.WithValue(ctx, deferredKey{}, true), query, args...)
}

// deferredKey marks, between a Deferred and its session, a statement that waits: database/sql, which stands between the
// two, hands over nothing else.
type deferredKey struct{}

// How often a transaction is run again after a transient error, and the first wait. Eight tries take about a second:
// enough for deadlocks and for a connection that was cut, and less than a caller waits.
const (
	tries     = 8
	firstWait = 5 * time.Millisecond
)

// Once runs work in one transaction at READ COMMITTED, and commits unless work returns an error. When ctx has ended before
// the commit, nothing is committed. An error of the commit that is a lost connection leaves open whether it was carried
// out.
func Once(ctx context.Context, db *sql.DB, work func(context.Context, *Tx) error) error {
	tx, err := db.BeginTx(ctx, ReadCommitted)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit this does nothing
	if err := work(ctx, &Tx{tx}); err != nil {
		return err
	}
	if err := commit(ctx, tx); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// Run is Once, and runs all of work again, from the start, after a deadlock, a lock that took too long or a lost
// connection, with waits that have jitter. So work sets what it returns to its caller anew each time; and after a
// connection was lost during the commit, when the transaction may have been committed, it finds that out by what it reads
// or by a unique key.
func Run(ctx context.Context, db *sql.DB, work func(context.Context, *Tx) error) error {
	return while(ctx, again, db, work)
}

// RunShared is Run for work that is done for several callers at once. It waits for a row that another transaction holds
// once, and not again: the other callers would be held up by what concerns one of them.
func RunShared(ctx context.Context, db *sql.DB, work func(context.Context, *Tx) error) error {
	return while(ctx, func(err error) bool { return again(err) && !dberror.IsLockWaitTimeout(err) }, db, work)
}

// again tells whether another try soon after may get over err: not over a server that is full.
func again(err error) bool { return dberror.IsTransient(err) && !dberror.IsFull(err) }

// while runs a transaction again as long as again says so of its error.
func while(ctx context.Context, again func(error) bool, db *sql.DB, work func(context.Context, *Tx) error) error {
	for try := 1; ; try++ {
		err := Once(ctx, db, work)
		if err == nil || !again(err) || try == tries {
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

// commit commits a transaction that was begun with ctx. When ctx has ended, database/sql may have rolled back by then, and
// says only that the transaction is over: the error is that of ctx then.
func commit(ctx context.Context, tx *sql.Tx) error {
	err := tx.Commit()
	if errors.Is(err, sql.ErrTxDone) && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
