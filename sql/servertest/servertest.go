// Package servertest gives tests a database server: the one of MYSQL_DSN, or a private one that ends with the test binary.
// Without either the test fails and says what to install or set; with -short it is skipped.
package servertest

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"example.com/orders/sql/embedded"
	"example.com/orders/sql/privilege"
	"example.com/orders/sql/schema"
)

// private starts the server of this test binary at its first use. The server and its folder go when the binary ends.
var private = sync.OnceValues(func() (dsn string, err error) {
	dir, err := os.MkdirTemp("", "orders-test-")
	if err != nil {
		return "", err
	}
	server, err := embedded.Start(context.Background(), embedded.Options{
		Dir: dir, Fast: true, RemoveOnExit: true,
		Progress: func(line string) { fmt.Fprintln(os.Stderr, line) },
	})
	if err != nil {
		return "", err
	}
	return server.DSN(), nil
})

// Empty returns a server and a prefix without schemas; those that the test creates are dropped at its end, with their users.
func Empty(t testing.TB) schema.Server {
	t.Helper()
	if dsn := os.Getenv("MYSQL_DSN"); dsn != "" && !testing.Short() {
		return empty(t, dsn)
	}
	return Private(t)
}

// Private is Empty on the private server of this test binary, for tests that would disturb other users of a server.
func Private(t testing.TB) schema.Server {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a database server: run without -short")
	}
	dsn, err := private()
	require.NoError(t, err)
	return empty(t, dsn)
}

// Start starts a server of the test's own with more arguments, and returns its address by its socket, as root. It ends with
// the test.
func Start(t testing.TB, arguments ...string) schema.Server {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a database server: run without -short")
	}
	server, err := embedded.Start(t.Context(), embedded.Options{
		Dir: t.TempDir(), Fast: true, Arguments: arguments, Progress: func(line string) { t.Log(line) },
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop(context.Background())) })
	return schema.Server{DSN: server.DSN(), Prefix: "t_"}
}

// StartTLS is Start of a server that listens on address, too, and takes nothing but TLS there, with a certificate in PEM
// files, and of clients those with a certificate of the authority in caFile, or without one.
func StartTLS(t testing.TB, address, caFile, certFile, keyFile string) schema.Server {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	return Start(t, "--skip-networking=0", "--bind-address="+host, "--port="+port, "--require-secure-transport=ON",
		"--loose-ssl=1", "--ssl-ca="+caFile, "--ssl-cert="+certFile, "--ssl-key="+keyFile) // loose: MySQL has TLS on, and no --ssl
}

func empty(t testing.TB, dsn string) schema.Server {
	t.Helper()
	s := schema.Server{DSN: dsn, Prefix: "t" + strings.ReplaceAll(uuid.NewString(), "-", "")[:12] + "_"}
	t.Cleanup(func() { drop(t, s) })
	return s
}

// Table creates a schema with one table, given its name and columns, and returns a connection pool.
func Table(t testing.TB, s schema.Server, table string) *sql.DB {
	t.Helper()
	admin, err := s.Open("", 1)
	require.NoError(t, err)
	_, err = admin.ExecContext(context.Background(), "CREATE DATABASE "+s.Prefix+schema.Orders)
	require.NoError(t, err)
	require.NoError(t, admin.Close())
	db, err := s.Open(schema.Orders, 4)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = db.ExecContext(context.Background(), "CREATE TABLE "+table+" ENGINE = InnoDB")
	require.NoError(t, err)
	return db
}

// Execer is a pool, a connection or a transaction.
type Execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// Exec runs a statement and returns the number of changed rows.
func Exec(t testing.TB, db Execer, statement string, args ...any) int64 {
	t.Helper()
	result, err := db.ExecContext(t.Context(), statement, args...)
	require.NoError(t, err)
	affected, err := result.RowsAffected()
	require.NoError(t, err)
	return affected
}

func drop(t testing.TB, s schema.Server) {
	t.Helper()
	db, err := s.Open("", 1)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	require.NoError(t, privilege.Drop(context.Background(), s))
	for _, name := range schema.All {
		_, err := db.ExecContext(context.Background(), "DROP DATABASE IF EXISTS "+s.Prefix+name)
		require.NoError(t, err)
	}
}
