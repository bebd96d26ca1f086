package main

import (
	"context"
	"database/sql/driver"
	"errors"
	"net"

	"github.com/IBM/sarama"
	"github.com/go-sql-driver/mysql"

	"example.com/orders/functions/internal/operate/deadletter"
)

// Exit codes of the program besides 0, as its help describes them.
const (
	exitFinding     = 1 // also for failures that are neither of the others
	exitUsage       = 2
	exitUnreachable = 3
	exitInterrupted = 130 // as shells have it for SIGINT: nothing was found out
)

var (
	errUsage       = errors.New("the command was not understood")
	errUnreachable = errors.New("something that the command needs cannot be reached")
)

// classified is an error of a kind. Its text does not name the kind.
type classified struct {
	error
	kind error
}

func (m classified) Is(target error) bool { return target == m.kind }
func (m classified) Unwrap() error        { return m.error }

// usage marks an error, if any, as one of the command's user.
func usage(err error) error { return ofKind(err, errUsage) }

// unreachable marks an error, if any, as that of a server which cannot be reached.
func unreachable(err error) error { return ofKind(err, errUnreachable) }

func ofKind(err, kind error) error {
	if err == nil {
		return nil
	}
	return classified{err, kind}
}

func exitCode(err error) int {
	switch {
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, errUsage):
		return exitUsage
	case errors.Is(err, errUnreachable), errors.Is(err, deadletter.ErrUnreachable), isAway(err):
		return exitUnreachable
	}
	return exitFinding
}

// isAway returns whether an error is that of a server which does not answer or lets nobody in.
func isAway(err error) bool {
	for _, away := range []error{driver.ErrBadConn, mysql.ErrInvalidConn, sarama.ErrOutOfBrokers, context.DeadlineExceeded} {
		if errors.Is(err, away) {
			return true
		}
	}
	var refused *mysql.MySQLError
	if errors.As(err, &refused) {
		const noAccessToSchema, noAccess, noSchema = 1044, 1045, 1049
		return refused.Number == noAccessToSchema || refused.Number == noAccess || refused.Number == noSchema
	}
	// Not net.Error: a missing file is one too.
	var connection *net.OpError
	if errors.As(err, &connection) {
		return connection.Op != "listen"
	}
	var name *net.DNSError
	return errors.As(err, &name)
}
