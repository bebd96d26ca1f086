// Package mysqltest gives each test schemas of its own: on the server of MYSQL_DSN, or on a private one that lives as
// long as the test binary. Where there is neither the test fails with what to install or set; with -short it is
// skipped.
package mysqltest

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"example.com/orders/sql/embedded"
	"example.com/orders/sql/migrate"
	"example.com/orders/sql/schema"
)

// private starts the server of this test binary at its first use. It ends, with its folder, when the binary does.
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

// Server returns a server and a prefix under which all schemas are new and migrated; they are dropped when the test
// ends.
func Server(t testing.TB) schema.Server {
	t.Helper()
	s := Empty(t)
	_, err := migrate.Up(t.Context(), s)
	require.NoError(t, err)
	return s
}

// Empty returns a server and a prefix under which there are no schemas yet.
func Empty(t testing.TB) schema.Server {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a database server: run without -short")
	}
	dsn := os.Getenv("MYSQL_DSN")
	if dsn == "" {
		var err error
		dsn, err = private()
		require.NoError(t, err)
	}
	s := schema.Server{DSN: dsn, Prefix: "t" + strings.ReplaceAll(uuid.NewString(), "-", "")[:12] + "_"}
	t.Cleanup(func() { drop(t, s) })
	return s
}

func drop(t testing.TB, s schema.Server) {
	t.Helper()
	db, err := s.Open("", 1)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	for _, name := range schema.All {
		_, err := db.ExecContext(context.Background(), "DROP DATABASE IF EXISTS "+s.Prefix+name)
		require.NoError(t, err)
	}
}

// Open returns a pool of connections to a migrated schema of its own.
func Open(t testing.TB, name string) *sql.DB {
	t.Helper()
	return Pool(t, Server(t), name)
}

// Pool returns a pool of connections to a schema of s; it is closed when the test ends.
func Pool(t testing.TB, s schema.Server, name string) *sql.DB {
	t.Helper()
	db, err := s.Open(name, 16)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// Config is the configuration by which a function's Start connects to s.
func Config(s schema.Server) map[string]string {
	return map[string]string{"MYSQL_DSN": s.DSN, "MYSQL_SCHEMA_PREFIX": s.Prefix}
}

// Count returns the number that a query answers with, as in SELECT COUNT(*).
func Count(t testing.TB, db *sql.DB, query string, arguments ...any) int {
	t.Helper()
	var n int
	require.NoError(t, db.QueryRowContext(t.Context(), query, arguments...).Scan(&n))
	return n
}
