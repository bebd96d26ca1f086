package main

import (
	"context"
	"database/sql"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// primary is a test's own database server, with a user to whom read_only applies.
type primary struct {
	target string  // for a proxy
	root   *sql.DB // no schema
}

// newPrimary starts a private server, or with CRASH_SERVERS=1 a real one.
func newPrimary(t *testing.T) primary {
	t.Helper()
	var dsn string
	if os.Getenv("CRASH_SERVERS") == "" {
		dsn = ownDatabase(t, t.TempDir()).DSN()
	} else {
		script := or(os.Getenv("CRASH_DATABASE"), "mysql")
		dsn = "root@tcp(" + newServer(t, script, strings.ToUpper(script)+"_PORT", t.TempDir()).address + ")/"
	}
	config, err := mysql.ParseDSN(dsn)
	require.NoError(t, err)
	root, err := sql.Open("mysql", dsn)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, root.Close()) })
	for _, statement := range []string{
		"CREATE USER orders",
		"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, REFERENCES ON *.* TO orders",
	} {
		_, err := root.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	return primary{target: config.Addr, root: root}
}

// A primary becomes read-only under load, while new connections reach another server. Nothing is replicated between the two,
// so earlier orders are lost with the first one; the test checks that later orders end.
func TestAfterAFailoverOrdersEndAgain(t *testing.T) {
	first, second := newPrimary(t), newPrimary(t)
	p := newProxy(t, second.target)
	// Few connections, so that all of them are open before, and no new one is needed.
	environ := []string{"MYSQL_DSN=orders@tcp(" + p.address + ")/", "MYSQL_SCHEMA_PREFIX=", "MYSQL_MAX_CONNS=2", "KAFKA_BROKERS="}
	stack{data: t.TempDir(), environ: environ}.up(t).stop(t) // the second has schemas and stock
	p.lead(first.target)
	h := stack{data: t.TempDir(), environ: environ}.up(t)

	accepted := make(chan struct{}, 20)
	clients, end := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer end()
	for range 4 {
		running.Go(func() {
			for clients.Err() == nil {
				response, err := http.Post(h.url+"/api/orders", "application/json", strings.NewReader(body("SKU-123", 1)))
				if err != nil {
					continue
				}
				if response.StatusCode == http.StatusCreated {
					select {
					case accepted <- struct{}{}:
					default: // more than are waited for
					}
				}
				_ = response.Body.Close()
			}
		})
	}
	for range 20 {
		<-accepted
	}
	p.lead(second.target)
	_, err := first.root.ExecContext(t.Context(), "SET GLOBAL read_only = ON")
	require.NoError(t, err)
	begin := time.Now()

	second.await(t, "orders are accepted", "SELECT COUNT(*) > 20 FROM orders.orders")
	t.Logf("orders are accepted after %s", time.Since(begin).Round(time.Millisecond))
	second.await(t, "orders end", "SELECT COUNT(*) > 20 FROM orders.orders WHERE status <> 'PENDING'")
	t.Logf("orders end after %s", time.Since(begin).Round(time.Millisecond))
	end()
	running.Wait()
	h.await(t, "it is well", func() bool { return h.get(t, "/health", nil) == http.StatusOK })
	for range 5 {
		assert.Equal(t, http.StatusOK, h.get(t, "/health", nil), "and stays so")
	}
	h.stop(t)
}

// await polls until a query returns true, at most a minute.
func (p primary) await(t *testing.T, what, query string) {
	t.Helper()
	assert.Eventually(t, func() (yes bool) {
		require.NoError(t, p.root.QueryRowContext(t.Context(), query).Scan(&yes))
		return yes
	}, time.Minute, 10*time.Millisecond, what)
}
