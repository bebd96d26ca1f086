// Package dberror says what an error of the database means for whoever got it. Errors of the driver and of a server go
// in; what to do about them comes out.
package dberror

import (
	"context"
	"errors"

	"github.com/go-sql-driver/mysql"
)

// Error numbers of MySQL and MariaDB.
const (
	duplicateEntry     = 1062
	lockWaitTimeout    = 1205
	deadlock           = 1213
	serverShutdown     = 1053
	tooManyConnections = 1040
	queryInterrupted   = 1317
	connectionKilled   = 1927 // by MariaDB
	sessionKilled      = 3169 // by MySQL
	sessionSilent      = 4031 // MySQL's word on a connection that it has closed for wait_timeout
)

// IsDuplicate tells whether an insert met a row with the same unique key.
func IsDuplicate(err error) bool { return number(err) == duplicateEntry }

// IsLockWaitTimeout tells whether a statement gave up waiting for a row that another transaction holds.
func IsLockWaitTimeout(err error) bool { return number(err) == lockWaitTimeout }

// IsTransient tells whether the same transaction may succeed when it is run again from its start: a deadlock, a lock
// that took too long, a lost or refused connection, a server that shuts down, has become read-only or has no room. It is
// false when the caller's context has ended.
func IsTransient(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	if IsReadOnly(err) || IsFull(err) {
		return true
	}
	switch number(err) {
	case lockWaitTimeout, deadlock, serverShutdown, tooManyConnections, queryInterrupted, connectionKilled, sessionKilled, sessionSilent:
		return true
	case 0:
		return isConnectionLoss(err)
	default:
		return false
	}
}

// IsServer tells whether err is the answer of a server, and not a failure of the connection to it.
func IsServer(err error) bool { return number(err) != 0 }

// number is the server's error number, 0 when err does not come from the server.
func number(err error) uint16 {
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return e.Number
	}
	return 0
}
