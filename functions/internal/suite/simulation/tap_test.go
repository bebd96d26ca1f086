package simulation

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/sql/schema"
	"example.com/orders/sql/transaction"
)

// call is one request of a function to the database: a statement, or one of the words below.
type call struct {
	session int64 // the server's number of the connection
	text    string
}

const (
	begin  = "BEGIN"
	commit = "COMMIT"
)

// named returns whether the call is the statement of the sqlc query with this name.
func (c call) named(name string) bool { return strings.HasPrefix(c.text, "-- name: "+name+" ") }

// tap sits between one function and the database: everything but a rollback passes through it. The server itself rolls back
// when a connection is gone.
type tap struct {
	driver.Connector
	clock func() time.Time // the database's clock; nil means the server's own

	mu sync.Mutex
	// around decides about each call: it runs do, and may fail before or after it. Without around, do runs.
	around func(c call, do func() error) error
	// rewrite changes statements, to break a function on purpose.
	rewrite func(query string) string
	// drop skips an INSERT or UPDATE and reports one affected row.
	drop func(c call) bool
}

// newTap opens a connection pool to a schema behind a new tap.
func newTap(t testing.TB, server schema.Server, name string, clock func() time.Time) (*tap, *sql.DB) {
	t.Helper()
	connector, err := server.Connector(name)
	require.NoError(t, err)
	own := &tap{Connector: connector, clock: clock}
	db := sql.OpenDB(own)
	db.SetMaxOpenConns(2)
	db.SetMaxIdleConns(1)
	t.Cleanup(func() { assert.NoError(t, db.Close()) })
	return own, db
}

// set sets around for all calls from now on; nil removes it.
func (t *tap) set(around func(call, func() error) error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.around = around
}

func (t *tap) run(c call, do func() error) error {
	t.mu.Lock()
	around := t.around
	t.mu.Unlock()
	if around == nil {
		return do()
	}
	return around(c, do)
}

func (t *tap) query(text string) string {
	if t.rewrite == nil {
		return text
	}
	return t.rewrite(text)
}

// Connect opens a connection through the tap.
func (t *tap) Connect(ctx context.Context) (driver.Conn, error) {
	raw, err := t.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	full, ok := raw.(transaction.Session)
	if !ok {
		return nil, fmt.Errorf("%T lacks methods that the tap passes on", raw)
	}
	c := &conn{Session: full, tap: t}
	rows, err := full.QueryContext(ctx, "SELECT CONNECTION_ID()", nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	value := make([]driver.Value, 1)
	if err := rows.Next(value); err != nil {
		return nil, err
	}
	_, err = fmt.Sscan(asText(value[0]), &c.id)
	return c, err
}

func asText(v driver.Value) string {
	if b, ok := v.([]byte); ok {
		return string(b)
	}
	return fmt.Sprint(v)
}

type conn struct {
	transaction.Session
	tap *tap
	id  int64
	now time.Time // the server's clock in this session
}

func (c *conn) call(text string) call { return call{c.id, text} }

// BeginTx begins a transaction with the simulation's clock on the server.
func (c *conn) BeginTx(ctx context.Context, options driver.TxOptions) (tx driver.Tx, err error) {
	err = c.tap.run(c.call(begin), func() error {
		if c.tap.clock != nil {
			if now := c.tap.clock(); !now.Equal(c.now) {
				if _, err := c.Session.ExecContext(ctx, fmt.Sprintf("SET timestamp = %d.%06d", now.Unix(), now.Nanosecond()/1000), nil); err != nil {
					return err
				}
				c.now = now
			}
		}
		tx, err = c.Session.BeginTx(ctx, options)
		return err
	})
	if err != nil {
		if tx != nil {
			_ = tx.Rollback()
		}
		return nil, err
	}
	return &ending{tx, c}, nil
}

// ExecContext runs a statement. If the caller went away during the call, it fails at once: whether the answer could still be
// read would depend on timing in the driver.
func (c *conn) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (result driver.Result, err error) {
	what := c.call(text)
	err = c.tap.run(what, func() error {
		if c.tap.drop != nil && c.tap.drop(what) {
			result = driver.RowsAffected(1)
			return nil
		}
		result, err = c.Session.ExecContext(ctx, c.tap.query(text), args)
		return err
	})
	if err == nil {
		err = ctx.Err()
	}
	return result, err
}

// QueryContext runs a query.
func (c *conn) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (rows driver.Rows, err error) {
	err = c.tap.run(c.call(text), func() error {
		rows, err = c.Session.QueryContext(ctx, c.tap.query(text), args)
		return err
	})
	if err == nil {
		err = ctx.Err()
	}
	if err != nil && rows != nil {
		_ = rows.Close()
		rows = nil
	}
	return rows, err
}

// ending ends a transaction.
type ending struct {
	driver.Tx
	conn *conn
}

// Commit commits; if a fault prevents it, the transaction is rolled back at once, as by the end of its connection.
func (t *ending) Commit() error {
	committed := false
	err := t.conn.tap.run(t.conn.call(commit), func() error {
		committed = true
		return t.Tx.Commit()
	})
	if !committed {
		_ = t.Rollback()
	}
	return err
}
