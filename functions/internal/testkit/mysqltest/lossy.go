package mysqltest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"sync/atomic"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"example.com/orders/sql/schema"
	"example.com/orders/sql/transaction"
)

// Loss decides which commits lose their connection; its zero value loses none.
type Loss struct {
	// Before is how many of the next commits lose their connection before they take effect.
	Before atomic.Int32
	// After is how many of the next commits take effect, but lose their acknowledgement.
	After atomic.Int32
}

// Lossy is Pool with connections that break at commits.
func Lossy(t testing.TB, s schema.Server, name string) (*sql.DB, *Loss) {
	t.Helper()
	connector, err := s.Connector(name)
	require.NoError(t, err)
	loss := &Loss{}
	db := sql.OpenDB(lossyConnector{connector, loss})
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(16)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db, loss
}

type lossyConnector struct {
	driver.Connector
	loss *Loss
}

func (c lossyConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &lossyConn{conn.(transaction.Session), c.loss, false}, nil
}

type lossyConn struct {
	transaction.Session
	loss *Loss
	lost bool
}

func (c *lossyConn) IsValid() bool { return !c.lost && c.Session.IsValid() }

func (c *lossyConn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	tx, err := c.Session.BeginTx(ctx, o)
	return &lossyTx{tx, c}, err
}

type lossyTx struct {
	driver.Tx
	conn *lossyConn
}

// Commit returns what a client sees of a broken connection.
func (x *lossyTx) Commit() error {
	loss := x.conn.loss
	if take(&loss.Before) {
		x.conn.lost = true
		_ = x.conn.Close() // the server rolls back
		return mysql.ErrInvalidConn
	}
	if err := x.Tx.Commit(); err != nil {
		return err
	}
	if take(&loss.After) {
		x.conn.lost = true
		return mysql.ErrInvalidConn
	}
	return nil
}

func take(left *atomic.Int32) bool {
	for {
		n := left.Load()
		if n == 0 {
			return false
		}
		if left.CompareAndSwap(n, n-1) {
			return true
		}
	}
}
