package mysqltest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/orders/sql/privilege"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/transaction"
)

// logins are those of the users that the tests of this binary make.
var logins = sync.OnceValue(privilege.RandomLogins)

// AsUser lets a function's statements on a pool of Pool run as its database user, while those of the test itself stay the
// server's: a test prepares and looks at what the function may not. It does so for the first function that a pool is given
// to; a pool of several functions is all the server's again.
func AsUser(t testing.TB, db *sql.DB, user string) {
	t.Helper()
	s, ok := db.Driver().(splitDriver)
	if !ok {
		return // a pool of the test's own making
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.user == user {
		return
	}
	if s.user != "" {
		s.as = nil
		return
	}
	_, err := privilege.Apply(t.Context(), s.server, logins(), user)
	require.NoError(t, err)
	as, err := logins().Server(s.server, user)
	require.NoError(t, err)
	s.user = user
	s.as, err = as.Connector(s.schema)
	require.NoError(t, err)
}

// split is a connector whose connections have a session for the test, and one for the function once it has a user.
type split struct {
	driver.Connector

	server schema.Server
	schema string

	mu   sync.Mutex
	user string
	as   driver.Connector
}

func newSplit(s schema.Server, name string) (*split, error) {
	connector, err := s.Connector(name)
	return &split{Connector: connector, server: s, schema: name}, err
}

type splitDriver struct{ *split }

// Open is for names of drivers, which nothing here has.
func (splitDriver) Open(string) (driver.Conn, error) { return nil, errors.ErrUnsupported }

func (s *split) Driver() driver.Driver { return splitDriver{s} }

func (s *split) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := s.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &splitConn{Session: conn.(transaction.Session), split: s}, nil
}

type splitConn struct {
	transaction.Session

	split *split
	own   transaction.Session // the function's; nil before its first statement
	open  transaction.Session // that of the open transaction
}

// asTest is in the contexts of AsTest.
type asTest struct{}

// AsTest returns a context whose statements are the test's own, in whichever goroutine they run.
func AsTest(ctx context.Context) context.Context { return context.WithValue(ctx, asTest{}, true) }

// session returns the session for a statement of the caller.
func (c *splitConn) session(ctx context.Context, text string) (transaction.Session, error) {
	if c.open != nil {
		return c.open, nil
	}
	c.split.mu.Lock()
	as := c.split.as
	c.split.mu.Unlock()
	// Statements and RowsRead measure the function's session.
	measures := strings.HasPrefix(text, "SHOW SESSION STATUS") || strings.HasPrefix(text, "SET SESSION optimizer_switch")
	if as == nil || ctx.Value(asTest{}) != nil || !measures && !calledByFunction() {
		return c.Session, nil
	}
	if c.own == nil {
		conn, err := as.Connect(ctx)
		if err != nil {
			return nil, err
		}
		c.own = conn.(transaction.Session)
	}
	return c.own, nil
}

const module = "example.com/orders/"

// calledByFunction returns whether a function has called, rather than a test or a tool: whichever comes first on the stack.
func calledByFunction() bool {
	var counters [128]uintptr
	frames := runtime.CallersFrames(counters[:runtime.Callers(2, counters[:])])
	for {
		frame, more := frames.Next()
		path, ours := strings.CutPrefix(frame.Function, module)
		inner, internal := strings.CutPrefix(path, "functions/internal/")
		switch {
		case !ours || strings.HasPrefix(path, "functions/internal/testkit/mysqltest.(*splitConn)"):
		case strings.HasSuffix(frame.File, "_test.go"), strings.HasPrefix(path, "sql/servertest"),
			strings.HasPrefix(inner, "testkit/"), strings.HasPrefix(inner, "operate/"):
			return false
		case strings.HasPrefix(inner, "function/"), !internal && strings.HasPrefix(path, "functions/"):
			return true
		}
		if !more {
			return true // a goroutine of the function
		}
	}
}

func (c *splitConn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	s, err := c.session(ctx, "")
	if err != nil {
		return nil, err
	}
	tx, err := s.BeginTx(ctx, o)
	if err == nil {
		c.open = s
	}
	return splitTx{tx, c}, err
}

type splitTx struct {
	driver.Tx

	conn *splitConn
}

func (t splitTx) Commit() error {
	t.conn.open = nil
	return t.Tx.Commit()
}

func (t splitTx) Rollback() error {
	t.conn.open = nil
	return t.Tx.Rollback()
}

func (c *splitConn) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	s, err := c.session(ctx, text)
	if err != nil {
		return nil, err
	}
	return s.ExecContext(ctx, text, args)
}

func (c *splitConn) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	s, err := c.session(ctx, text)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(ctx, text, args)
}

func (c *splitConn) PrepareContext(ctx context.Context, text string) (driver.Stmt, error) {
	s, err := c.session(ctx, text)
	if err != nil {
		return nil, err
	}
	return s.PrepareContext(ctx, text)
}

func (c *splitConn) Ping(ctx context.Context) error {
	s, err := c.session(ctx, "")
	if err != nil {
		return err
	}
	return s.Ping(ctx)
}

func (c *splitConn) IsValid() bool { return c.Session.IsValid() && (c.own == nil || c.own.IsValid()) }

func (c *splitConn) ResetSession(ctx context.Context) error {
	err := c.Session.ResetSession(ctx)
	if err == nil && c.own != nil {
		err = c.own.ResetSession(ctx)
	}
	return err
}

func (c *splitConn) Close() error {
	err := c.Session.Close()
	if c.own != nil {
		err = errors.Join(err, c.own.Close())
	}
	return err
}
