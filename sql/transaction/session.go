package transaction

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"github.com/go-sql-driver/mysql"

	"example.com/orders/sql/dberror"
)

// Session has the methods of the driver's connection that database/sql uses.
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

// NewConnector wraps a connector of the MySQL driver. Its connections are at READ COMMITTED; a transaction begins together
// with its first statement, and statements can be deferred (see Tx.Deferred). The driver alone needs two round trips to
// begin a transaction, one of them for the level. inner needs MultiStatements: only a Session and QueryTogether put several
// statements into one text.
func NewConnector(inner driver.Connector) driver.Connector { return connector{inner, &condition{}} }

type connector struct {
	driver.Connector

	pool *condition
}

// unsent is the text of the driver's unexported error for a connection that broke before any byte of a packet was sent.
// Except in Connect the driver itself turns it into driver.ErrBadConn.
const unsent = "bad connection"

// Connect opens a connection at READ COMMITTED. The level needs its own statement: MariaDB 10.11 does not know the variable
// with which the driver could set it.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	generation := c.pool.generation.Load() // before the server can change
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		if err.Error() == unsent {
			err = driver.ErrBadConn
		}
		return nil, err
	}
	able, ok := conn.(Session)
	if !ok {
		return nil, errors.Join(fmt.Errorf("%T lacks methods that a session needs", conn), conn.Close())
	}
	if _, err := able.ExecContext(ctx, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", nil); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &session{Session: able, pool: c.pool, generation: generation}, nil
}

type session struct {
	Session
	pool       *condition
	generation int64
	inside     bool        // in a transaction of this package
	begun      bool        // the server has begun it
	waiting    []statement // its deferred statements
	broken     bool        // it could not be ended

	args []driver.NamedValue // of join, empty and for the next one
}

// together separates the statements of one text.
const together = ";\n"

type statement struct {
	text string
	args []driver.NamedValue
	id   *int64 // where the first id of an INSERT goes; nil if nobody asks
}

// begin is the statement that begins a transaction. A replica refuses it, before the transaction does anything that needs
// the commit, such as publishing.
const begin = "START TRANSACTION READ WRITE"

// name returns the name of the query in sql, or the statement's first words.
func (s statement) name() string {
	if name, ok := strings.CutPrefix(s.text, "-- name: "); ok {
		name, _, _ = strings.Cut(name, " ")
		return name
	}
	words := strings.Fields(s.text)
	return strings.Join(words[:min(len(words), 3)], " ")
}

// BeginTx begins a transaction at the session's level without a round trip, and any other as the driver does.
func (s *session) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	level := sql.IsolationLevel(o.Isolation)
	if o.ReadOnly || (level != sql.LevelDefault && level != sql.LevelReadCommitted) {
		return s.Session.BeginTx(ctx, o)
	}
	s.inside, s.begun, s.waiting = true, false, nil
	return ending{s}, nil
}

// IsValid returns whether the connection may be reused.
func (s *session) IsValid() bool { return !s.broken && !s.left() && s.Session.IsValid() }

// Close closes the connection. If the server is gone, that is not an error.
func (s *session) Close() error {
	_ = s.Session.Close()
	return nil
}

// ExecContext runs a statement, or defers it.
func (s *session) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (result driver.Result, err error) {
	if id, deferred := ctx.Value(deferredKey{}).(*int64); deferred && s.inside {
		s.waiting = append(s.waiting, statement{text, args, id})
		return driver.ResultNoRows, nil
	}
	err = s.send(ctx, statement{text: text, args: args}, func(together []statement, all statement) error {
		if result, err = s.Session.ExecContext(ctx, all.text, all.args); err != nil {
			return s.learn(err)
		}
		tellIDs(together, result)
		return nil
	})
	return result, err
}

// tellIDs hands out the ids that the server has given to the rows of some statements.
func tellIDs(statements []statement, result driver.Result) {
	of, known := result.(mysql.Result)
	if !known || len(statements) == 0 {
		return
	}
	for n, id := range of.AllLastInsertIds() {
		if n < len(statements) && statements[n].id != nil {
			*statements[n].id = id
		}
	}
}

// QueryContext runs a query.
func (s *session) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (rows driver.Rows, err error) {
	err = s.send(ctx, statement{text: text, args: args}, func(_ []statement, all statement) error {
		rows, err = s.Session.QueryContext(ctx, all.text, all.args)
		return s.learn(err)
	})
	return rows, err
}

// PrepareContext prepares a statement after running the deferred ones.
func (s *session) PrepareContext(ctx context.Context, text string) (driver.Stmt, error) {
	if err := s.each(ctx, s.due()); err != nil {
		return nil, err
	}
	return s.Session.PrepareContext(ctx, text)
}

// send runs a statement together with what must precede it: the begin of its transaction, and deferred statements. If the
// text is too long for the driver, they run one at a time. run gets the statements of the text if there are several.
func (s *session) send(ctx context.Context, last statement, run func([]statement, statement) error) error {
	all := s.due()
	if len(all) == 0 {
		return run(nil, last)
	}
	all = append(all, last)
	joined := s.join(all)
	err := run(all, joined)
	clear(joined.args) // the driver has copied what it sends
	if !errors.Is(err, driver.ErrSkip) {
		return oneOf(all, err)
	}
	if err := s.each(ctx, all[:len(all)-1]); err != nil {
		return err
	}
	return run(nil, last)
}

// oneOf adds the names of all statements that an error of the server may concern: the caller knows only the last one.
func oneOf(all []statement, err error) error {
	if !dberror.IsServer(err) {
		return err
	}
	var names []string
	for _, one := range all {
		if one.text != begin {
			names = append(names, one.name())
		}
	}
	if len(names) < 2 {
		return err
	}
	return fmt.Errorf("%w (in one of %s)", err, strings.Join(names, ", "))
}

// join joins statements into one text. Its arguments are valid until the next call.
func (s *session) join(statements []statement) (all statement) {
	texts, args := make([]string, len(statements)), s.args[:0]
	for i, one := range statements {
		texts[i] = one.text
		args = append(args, one.args...)
	}
	s.args = args
	return statement{text: strings.Join(texts, together), args: args}
}

// due returns the statements that must be sent first, and forgets them: the caller sends them.
func (s *session) due() []statement {
	all := s.waiting
	if s.inside && !s.begun {
		all = append([]statement{{text: begin}}, all...)
	}
	s.begun, s.waiting = s.inside, nil
	return all
}

func (s *session) each(ctx context.Context, all []statement) error {
	for n, one := range all {
		result, err := s.Session.ExecContext(ctx, one.text, one.args)
		if err != nil {
			return fmt.Errorf("%s: %w", one.name(), s.learn(err))
		}
		tellIDs(all[n:n+1], result)
	}
	return nil
}

// ending ends the transaction of a session.
type ending struct{ session *session }

// Commit commits. After an error of the server nothing is committed: the error is that of a deferred statement or of the
// commit. After any other error the outcome is unknown.
func (t ending) Commit() error {
	s := t.session
	if !s.begun && len(s.waiting) == 0 {
		s.inside = false
		return nil
	}
	// Without a deadline, like the driver, but within its timeouts.
	if _, err := s.ExecContext(context.Background(), "COMMIT", nil); err != nil {
		_ = t.Rollback() // if it fails, IsValid reports it to the pool
		return settled(err)
	}
	s.inside = false
	return nil
}

// Rollback rolls back.
func (t ending) Rollback() error {
	s := t.session
	begun := s.begun
	s.inside, s.begun, s.waiting = false, false, nil
	if !begun {
		return nil
	}
	_, err := s.Session.ExecContext(context.Background(), "ROLLBACK", nil)
	s.broken = err != nil
	return settled(err)
}

// settled wraps an error of a transaction's end, so that database/sql does not try again.
func settled(err error) error {
	if errors.Is(err, driver.ErrBadConn) {
		return mysql.ErrInvalidConn
	}
	return err
}
