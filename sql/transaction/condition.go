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

// fullFor is how long a server is assumed to be full after an error: it cannot be asked, and only the next write shows.
const fullFor = 2 * time.Second

// condition is what the sessions of a pool know about their server.
type condition struct {
	// generation is the generation of usable sessions: it grows when a session finds that its server takes no writes.
	generation atomic.Int64
	lastFull   atomic.Pointer[noRoom]
}

// noRoom is the time and the error of the last statement that found the server full.
type noRoom struct {
	at  time.Time
	err error
}

// learn records what an error says about the connection and the server, and returns the error of the statement.
func (s *session) learn(err error) error {
	switch {
	case dberror.IsReadOnly(err):
		// Sessions opened since then may have reached another server.
		s.pool.generation.CompareAndSwap(s.generation, s.generation+1)
		if !s.inside {
			// The statement had no effect: database/sql may try it on another connection.
			return fmt.Errorf("%w: %w", driver.ErrBadConn, err)
		}
	case dberror.IsFull(err):
		s.pool.lastFull.Store(&noRoom{time.Now(), err})
	}
	return err
}

// left returns whether the pool has abandoned the server of this connection.
func (s *session) left() bool { return s.generation != s.pool.generation.Load() }

// ResetSession is called before the pool reuses a connection.
func (s *session) ResetSession(ctx context.Context) error {
	if s.left() {
		return driver.ErrBadConn
	}
	return s.Session.ResetSession(ctx)
}

// Ping succeeds if the server would take a write of the user of db, as far as this can be known without one: a replica
// refuses to begin a write transaction, and a server that was full a moment ago counts as full.
func Ping(ctx context.Context, db *sql.DB) error {
	err := db.PingContext(ctx)
	if errors.Is(err, driver.ErrBadConn) {
		err = db.PingContext(ctx) // on a connection of the current generation
	}
	return err
}

// Ping is called by the function Ping.
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
