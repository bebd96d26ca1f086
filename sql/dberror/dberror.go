// Package dberror classifies errors of the driver and of the server by what the caller should do: retry, treat a value as
// poison, or answer a duplicate.
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
	connectionKilled   = 1927 // MariaDB
	sessionKilled      = 3169 // MySQL
	sessionSilent      = 4031 // MySQL, for a connection that it closed because of wait_timeout
)

// IsDuplicate returns whether an insert found a row with the same unique key.
func IsDuplicate(err error) bool { return number(err) == duplicateEntry }

// IsLockWaitTimeout returns whether a statement gave up waiting for a row that another transaction holds.
func IsLockWaitTimeout(err error) bool { return number(err) == lockWaitTimeout }

// IsTransient returns whether the same transaction may succeed if it runs again from its start: after a deadlock, a lock
// wait timeout, a lost or refused connection, or if the server shuts down, has become read-only or has no room. It returns
// false once the caller's context has ended.
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

// IsServer returns whether err is an answer of the server, and not a failure of the connection.
func IsServer(err error) bool { return number(err) != 0 }

// number returns the server's error number, 0 if err does not come from the server.
func number(err error) uint16 {
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return e.Number
	}
	return 0
}
