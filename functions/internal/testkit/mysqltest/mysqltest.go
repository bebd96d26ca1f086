// Package mysqltest gives each test its own migrated schemas, on the server that package servertest finds.
package mysqltest

import (
	"database/sql"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/orders/sql/schema"
	"example.com/orders/sql/servertest"
)

// Server returns a server and a prefix with new, migrated schemas, which are dropped when the test ends.
func Server(t testing.TB) schema.Server {
	t.Helper()
	s := Empty(t)
	fill(t, s, schema.All...)
	return s
}

// Empty returns a server and a prefix without schemas.
func Empty(t testing.TB) schema.Server {
	t.Helper()
	return servertest.Empty(t)
}

// Open returns a connection pool to a new migrated schema.
func Open(t testing.TB, name string) *sql.DB {
	t.Helper()
	s := Empty(t)
	fill(t, s, name)
	return Pool(t, s, name)
}

// Pool returns a connection pool to a schema of s; it is closed when the test ends.
func Pool(t testing.TB, s schema.Server, name string) *sql.DB {
	t.Helper()
	connector, err := newSplit(s, name)
	require.NoError(t, err)
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(16)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// Config returns the configuration with which a function's Start connects to s.
func Config(s schema.Server) map[string]string {
	return map[string]string{"MYSQL_DSN": s.DSN, "MYSQL_SCHEMA_PREFIX": s.Prefix}
}

// Count returns the number that a query returns, such as SELECT COUNT(*).
func Count(t testing.TB, db *sql.DB, query string, arguments ...any) int {
	t.Helper()
	var n int
	require.NoError(t, db.QueryRowContext(t.Context(), query, arguments...).Scan(&n))
	return n
}
