package transaction

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"

	"example.com/orders/sql/dberror"
)

// fullFor is how long a server that had no room counts as one that has none: nobody can ask it, and the next write tells.
const fullFor = 2 * time.Second

// condition is what the sessions of a pool have learned about their server.
type condition struct {
	// generation is that of the sessions that may be used: it grows when one of them finds that its server takes no writes.
	generation atomic.Int64
	lastFull   atomic.Pointer[noRoom]
}

// noRoom is when a statement met a server that is full, and what the server said.
type noRoom struct {
	at  time.Time
	err error
}

// learn notes what an error says about the connection and the server, and returns the error of the statement.
func (s *session) learn(err error) error {
	switch {
	case dberror.IsReadOnly(err):
		// Those that were opened since may have reached another server.
		s.pool.generation.CompareAndSwap(s.generation, s.generation+1)
		if !s.inside {
			// Nothing was done: database/sql may try again on another connection.
			return fmt.Errorf("%w: %w", driver.ErrBadConn, err)
		}
	case dberror.IsFull(err):
		s.pool.lastFull.Store(&noRoom{time.Now(), err})
	}
	return err
}

// left tells whether the pool has left the server of this connection.
func (s *session) left() bool { return s.generation != s.pool.generation.Load() }

// ResetSession is called before a connection of the pool is used again.
func (s *session) ResetSession(ctx context.Context) error {
	if s.left() {
		return driver.ErrBadConn
	}
	return s.Session.ResetSession(ctx)
}

// Ping succeeds when the server would take a write of the user of db, as far as it can be known without one: a replica
// refuses to begin a transaction that writes, and a server that had no room a moment ago is taken to have none.
func Ping(ctx context.Context, db *sql.DB) error {
	err := db.PingContext(ctx)
	if errors.Is(err, driver.ErrBadConn) {
		err = db.PingContext(ctx) // by a connection that is not of the time before, which database/sql leaves to its caller
	}
	return err
}

// Ping is asked by the function of this name.
func (s *session) Ping(ctx context.Context) error {
	if last := s.pool.lastFull.Load(); last != nil && time.Since(last.at) < fullFor {
		return last.err
	}
	if _, err := s.ExecContext(ctx, begin+together+"ROLLBACK", nil); err != nil {
		return err
	}
	rows, err := s.QueryContext(ctx, "SELECT 1 FROM DUAL WHERE @@innodb_read_only", nil)
	if err != nil {
		return err
	}
	err = rows.Next(make([]driver.Value, 1))
	switch closed := rows.Close(); {
	case errors.Is(err, io.EOF):
		return closed
	case err == nil:
		return s.learn(&mysql.MySQLError{Number: 1836, Message: "the server is read-only (innodb_read_only)"})
	default:
		return fmt.Errorf("ask whether the server is read-only: %w", err)
	}
}
