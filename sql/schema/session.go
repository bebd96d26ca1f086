package schema

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/go-sql-driver/mysql"
)

// Session is what the driver's connection can do and database/sql asks for.
type Session interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.NamedValueChecker
	driver.SessionResetter
	driver.Validator
	driver.Pinger
}

// Connector returns what opens connections to a schema: each is a Session at READ COMMITTED that begins a transaction
// together with its first statement. A transaction so takes two round trips less than the driver's, which sets the level
// for each and begins it by itself.
func (s Server) Connector(name string) (driver.Connector, error) {
	c, err := s.Config(name)
	if err != nil {
		return nil, err
	}
	c.MultiStatements = true // the one place that sends two at once is session.opening
	inner, err := mysql.NewConnector(c)
	if err != nil {
		return nil, fmt.Errorf("configure the connection to %s: %w", c.Addr, err)
	}
	return connector{inner}, nil
}

type connector struct{ driver.Connector }

// Connect opens a connection at READ COMMITTED. The level has a statement of its own: MariaDB 10.11 does not know the
// variable by which the driver could set it.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	s := &session{Session: conn.(Session)}
	if _, err := s.Session.ExecContext(ctx, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", nil); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return s, nil
}

type session struct {
	Session
	begun bool // a transaction of which the server has not heard yet
}

// BeginTx begins a transaction at the level of the session without a word to the server, and any other as the driver does.
func (s *session) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	level := sql.IsolationLevel(o.Isolation)
	if o.ReadOnly || (level != sql.LevelDefault && level != sql.LevelReadCommitted) {
		return s.Session.BeginTx(ctx, o)
	}
	s.begun = true
	return transaction{s}, nil
}

// opening is a statement with the begin of the transaction whose first it is.
func (s *session) opening(query string) string {
	if !s.begun {
		return query
	}
	s.begun = false
	return "START TRANSACTION; " + query
}

// ExecContext runs a statement.
func (s *session) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	begun := s.begun
	result, err := s.Session.ExecContext(ctx, s.opening(query), args)
	s.begun = begun && errors.Is(err, driver.ErrSkip) // the driver has not sent it and asks to have it prepared
	return result, err
}

// QueryContext runs a statement that answers with rows.
func (s *session) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	begun := s.begun
	rows, err := s.Session.QueryContext(ctx, s.opening(query), args)
	s.begun = begun && errors.Is(err, driver.ErrSkip)
	return rows, err
}

// PrepareContext prepares a statement, for which a transaction must have begun.
func (s *session) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if s.begun {
		s.begun = false
		if _, err := s.Session.ExecContext(ctx, "START TRANSACTION", nil); err != nil {
			return nil, err
		}
	}
	return s.Session.PrepareContext(ctx, query)
}

type transaction struct{ session *session }

// Commit commits. After an error other than one of the server's the outcome is unknown.
func (t transaction) Commit() error { return t.end("COMMIT") }

// Rollback rolls back.
func (t transaction) Rollback() error { return t.end("ROLLBACK") }

func (t transaction) end(how string) error {
	if t.session.begun {
		t.session.begun = false
		return nil
	}
	_, err := t.session.Session.ExecContext(context.Background(), how, nil)
	if errors.Is(err, driver.ErrBadConn) {
		return mysql.ErrInvalidConn // database/sql would take the other as leave to try again
	}
	return err
}
