package dberror_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/sql/dberror"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/servertest"
	"example.com/orders/sql/transaction"
)

// facts is the table of these tests.
const facts = "facts (id INT PRIMARY KEY, name VARCHAR(4) NULL)"

func TestTransientErrorsMaySucceedOnARetry(t *testing.T) {
	server := func(number uint16) error { return &mysql.MySQLError{Number: number, Message: "no"} }
	cases := map[string]struct {
		err  error
		want bool
	}{
		"no error":                        {nil, false},
		"deadlock":                        {server(1213), true},
		"lock wait":                       {server(1205), true},
		"server shuts down":               {server(1053), true},
		"too many connections":            {server(1040), true},
		"statement killed":                {server(1317), true},
		"read-only server":                {server(1290), true},
		"read-only transaction":           {server(1792), true},
		"read-only InnoDB":                {server(1836), true},
		"read-only InnoDB, as 1874":       {server(1874), true},
		"read-only table":                 {server(1036), true},
		"node of Galera, not ready":       {server(1047), true},
		"server that is offline":          {server(3032), true},
		"connection killed, MariaDB":      {server(1927), true},
		"connection killed, MySQL":        {server(3169), true},
		"connection idle, MySQL":          {server(4031), true},
		"wrapped":                         {fmt.Errorf("take stock: %w", server(1213)), true},
		"duplicate":                       {server(1062), false},
		"check failed":                    {server(3819), false},
		"data too long":                   {server(1406), false},
		"access denied":                   {server(1045), false},
		"bad connection":                  {driver.ErrBadConn, true},
		"invalid connection":              {mysql.ErrInvalidConn, true},
		"cut off":                         {fmt.Errorf("read: %w", io.ErrUnexpectedEOF), true},
		"refused":                         {&net.OpError{Op: "dial", Err: errors.New("connection refused")}, true},
		"the caller gave up":              {context.Canceled, false},
		"the caller's time is over":       {fmt.Errorf("read: %w", context.DeadlineExceeded), false},
		"deadlock as the caller gives up": {errors.Join(server(1213), context.Canceled), false},
		"anything else":                   {errors.New("no such order"), false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) { assert.Equal(t, c.want, dberror.IsTransient(c.err)) })
	}
}

func TestErrorsOfARealServerAreKnown(t *testing.T) {
	server := servertest.Empty(t)
	db := servertest.Table(t, server, facts)
	servertest.Exec(t, db, "INSERT INTO facts (id) VALUES (1)")

	_, err := db.ExecContext(t.Context(), "INSERT INTO facts (id) VALUES (1)")
	assert.True(t, dberror.IsDuplicate(err), "%v", err)
	assert.False(t, dberror.IsTransient(err))

	holder, err := db.BeginTx(t.Context(), transaction.ReadCommitted)
	require.NoError(t, err)
	defer func() { _ = holder.Rollback() }()
	servertest.Exec(t, holder, "UPDATE facts SET name = 'x' WHERE id = 1")
	conn, err := db.Conn(t.Context())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	servertest.Exec(t, conn, "SET innodb_lock_wait_timeout = 1")
	_, err = conn.ExecContext(t.Context(), "UPDATE facts SET name = 'y' WHERE id = 1")
	assert.True(t, dberror.IsLockWaitTimeout(err), "%v", err)
	assert.True(t, dberror.IsTransient(err))
	assert.False(t, dberror.IsDuplicate(err))

	away, err := schema.Server{DSN: "root@tcp(127.0.0.1:1)/"}.Open(schema.Orders, 1)
	require.NoError(t, err)
	defer func() { require.NoError(t, away.Close()) }()
	assert.True(t, dberror.IsTransient(away.PingContext(t.Context())))
}

// cut is a connection that breaks before one of its writes, counted from 1.
type cut struct {
	net.Conn
	left int
}

func (c *cut) Write(b []byte) (int, error) {
	if c.left--; c.left == 0 {
		return 0, syscall.ECONNRESET
	}
	return c.Conn.Write(b)
}

func TestAConnectionThatBreaksWhileItIsMadeIsTransient(t *testing.T) {
	server := servertest.Empty(t)
	config, err := mysql.ParseDSN(server.DSN)
	require.NoError(t, err)
	network := config.Net
	config.Net = "cut"
	at := 0
	mysql.RegisterDialContext(config.Net, func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		return &cut{conn, at}, err
	})
	t.Cleanup(func() { mysql.DeregisterDialContext(config.Net) })
	server.DSN, server.AllowPlaintext = config.FormatDSN(), true // the network of a test is not known to be this machine
	db, err := server.Open("", 1)
	require.NoError(t, err)
	defer func() { _ = db.Close() }() // which breaks, too

	for at = 1; ; at++ {
		if err = db.PingContext(t.Context()); err == nil {
			break
		}
		assert.True(t, dberror.IsTransient(err), "write %d: %v", at, err)
	}
	assert.Greater(t, at, 3, "at least the greeting, the settings and the level are writes")
}

func TestAKilledConnectionIsTransient(t *testing.T) {
	cases := map[string]string{"between statements": "DO 1", "during a statement": "SELECT SLEEP(30)"}
	for name, statement := range cases {
		t.Run(name, func(t *testing.T) {
			db := servertest.Table(t, servertest.Empty(t), facts)
			conn, err := db.Conn(t.Context())
			require.NoError(t, err)
			defer func() { _ = conn.Close() }()
			var id int64
			require.NoError(t, conn.QueryRowContext(t.Context(), "SELECT CONNECTION_ID()").Scan(&id))
			// In a transaction, since outside of one the pool itself would take another connection.
			tx, err := conn.BeginTx(t.Context(), transaction.ReadCommitted)
			require.NoError(t, err)
			defer func() { _ = tx.Rollback() }()

			killed := make(chan error, 1)
			if statement == "DO 1" {
				_, err := db.ExecContext(t.Context(), "KILL ?", id)
				killed <- err
			} else {
				go func() {
					for cut := 0; cut == 0; {
						var err error
						if cut, err = servertest.Cut(t.Context(), db, func(s servertest.Session) bool { return s.ID == id && s.Statement == statement }); err != nil {
							killed <- err
							return
						}
					}
					killed <- nil
				}()
			}
			_, err = tx.ExecContext(t.Context(), statement)
			assert.True(t, dberror.IsTransient(err), "%v", err)
			require.NoError(t, <-killed)
		})
	}
}
