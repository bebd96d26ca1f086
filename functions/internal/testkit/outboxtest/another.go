package outboxtest

import (
	"database/sql"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/schema"
)

// Another creates one more schema with an outbox on a server, and returns a connection pool to it.
func Another(t testing.TB, s schema.Server, name string) *sql.DB {
	t.Helper()
	db := mysqltest.Pool(t, s, schema.Orders)
	statements := []string{"CREATE DATABASE `" + s.Prefix + name + "`"}
	for _, table := range []string{"outbox", "outbox_shards", "outbox_waiting", "inbox"} {
		statements = append(statements, "CREATE TABLE `"+s.Prefix+name+"`."+table+" LIKE "+table)
	}
	for _, statement := range append(statements, "INSERT INTO `"+s.Prefix+name+"`.outbox_shards SELECT * FROM outbox_shards") {
		_, err := db.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	t.Cleanup(func() {
		_, err := db.Exec("DROP DATABASE `" + s.Prefix + name + "`")
		require.NoError(t, err)
	})
	return mysqltest.Pool(t, s, name)
}
