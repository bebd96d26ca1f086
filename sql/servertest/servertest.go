// Package servertest gives tests a database server: that of MYSQL_DSN, or a private one that lives as long as the test
// binary. Where there is neither the test fails with what to install or set; with -short it is skipped.
package servertest

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"example.com/orders/sql/embedded"
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

// Empty returns a server and a prefix under which there are no schemas yet; those that the test makes are dropped when
// it ends.
func Empty(t testing.TB) schema.Server {
	t.Helper()
	if dsn := os.Getenv("MYSQL_DSN"); dsn != "" && !testing.Short() {
		return empty(t, dsn)
	}
	return Private(t)
}

// Private is Empty on the private server of this test binary, for what nobody should do to a server that others use.
func Private(t testing.TB) schema.Server {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a database server: run without -short")
	}
	dsn, err := private()
	require.NoError(t, err)
	return empty(t, dsn)
}

func empty(t testing.TB, dsn string) schema.Server {
	t.Helper()
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
