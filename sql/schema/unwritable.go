package schema

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"
)

// readOnly lists the errors of a server that takes no writes, as a primary that has become a replica: MySQL and MariaDB
// have the same numbers. Another server may answer under the same address, so the connection is of no more use.
var readOnly = map[uint16]bool{
	1036: true, // the table is read-only, by innodb_read_only or innodb_force_recovery
	1047: true, // a node of a Galera cluster that is not ready; nobody sends it an unknown command, which is MySQL's meaning
	1290: true, // read_only, super_read_only
	1792: true, // transaction_read_only
	1836: true, // innodb_read_only
	1874: true, // the same
	3032: true, // offline_mode
}

// full lists the errors of a server that lacks room, on its disk or in memory. Errors of other numbers can mean it too, and
// have the text of the operating system then.
var full = map[uint16]bool{
	20:   true, // the disk, while it wrote a file of its own
	1021: true, // the disk
	1037: true, // memory
	1041: true, // memory
	1114: true, // the table cannot grow
	1135: true, // memory for a thread
	1206: true, // the buffer pool
	1637: true, // the undo logs
	3675: true, // the disk, when a table is created
}

func isReadOnly(err error) bool { return readOnly[number(err)] }

// IsFull tells whether the server has no room for a statement, which succeeds once somebody makes room: it says nothing
// about what was to be written. No number of tries in a row changes it.
func IsFull(err error) bool {
	e, ok := errors.AsType[*mysql.MySQLError](err)
	return ok && (full[e.Number] || strings.Contains(e.Message, "No space left on device") || strings.Contains(e.Message, "Disk quota exceeded"))
}

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
	case isReadOnly(err):
		// Those that were opened since may have reached another server.
		s.pool.generation.CompareAndSwap(s.generation, s.generation+1)
		if !s.inside {
			// Nothing was done: database/sql may try again on another connection.
			return fmt.Errorf("%w: %w", driver.ErrBadConn, err)
		}
	case IsFull(err):
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
