package transaction_test

import (
	"context"
	"database/sql"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/sql/dberror"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/servertest"
	"example.com/orders/sql/transaction"
)

// demoted is a server that refuses the writes of one user, like a primary that becomes a replica. A connection keeps the
// privileges of the time it was opened, so promote lets only new connections write, as if they reached another server.
type demoted struct {
	t    *testing.T
	root *sql.DB
	user string
	pool *sql.DB // of that user
}

func newDemoted(t *testing.T, connections int) *demoted {
	t.Helper()
	server := servertest.Private(t) // during a demotion no other transaction can begin
	open(t, server)
	d := &demoted{t: t, user: strings.TrimSuffix(server.Prefix, "_")}
	var err error
	d.root, err = server.Open(schema.Orders, 1)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.root.Close()) })
	servertest.Exec(t, d.root, "CREATE USER "+d.user)
	servertest.Exec(t, d.root, "GRANT ALL ON "+server.Prefix+schema.Orders+".* TO "+d.user)
	t.Cleanup(func() {
		_, err := d.root.ExecContext(context.Background(), "SET GLOBAL read_only = OFF")
		require.NoError(t, err)
		_, err = d.root.ExecContext(context.Background(), "DROP USER "+d.user)
		require.NoError(t, err)
	})
	config, err := mysql.ParseDSN(server.DSN)
	require.NoError(t, err)
	config.User, config.Passwd = d.user, ""
	server.DSN = config.FormatDSN()
	d.pool, err = server.Open(schema.Orders, connections)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.pool.Close()) })

	var all []*sql.Conn
	for range connections {
		c, err := d.pool.Conn(t.Context())
		require.NoError(t, err)
		all = append(all, c)
	}
	for _, c := range all {
		require.NoError(t, c.Close())
	}
	return d
}

func (d *demoted) demote() { servertest.Exec(d.t, d.root, "SET GLOBAL read_only = ON") }

func (d *demoted) promote() {
	privilege := "SUPER"
	var version string
	require.NoError(d.t, d.root.QueryRowContext(d.t.Context(), "SELECT VERSION()").Scan(&version))
	if strings.Contains(version, "MariaDB") {
		privilege = "READ_ONLY ADMIN"
	}
	servertest.Exec(d.t, d.root, "GRANT "+privilege+" ON *.* TO "+d.user)
}

// write inserts a row in a transaction, or fails.
func (d *demoted) write(id int) error {
	tx, err := d.pool.BeginTx(d.t.Context(), transaction.ReadCommitted)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(d.t.Context(), "INSERT INTO facts (id) VALUES (?)", id); err != nil {
		return err
	}
	return tx.Commit()
}

func TestOneRefusedWriteRenewsAllConnections(t *testing.T) {
	d := newDemoted(t, 4)
	require.NoError(t, d.write(1))
	d.demote()
	d.promote()

	err := d.write(2)
	require.ErrorContains(t, err, "1290")
	assert.True(t, dberror.IsTransient(err), "%v", err)
	var together sync.WaitGroup
	for id := 2; id < 10; id++ {
		together.Go(func() { assert.NoError(t, d.write(id)) })
	}
	together.Wait()
}

func TestASingleStatementIsNotRefusedByAServerThatIsLeft(t *testing.T) {
	d := newDemoted(t, 4)
	d.demote()
	d.promote()
	servertest.Exec(t, d.pool, "INSERT INTO facts (id) VALUES (1)")
}

func TestPingLeavesAServerThatTakesNoWrites(t *testing.T) {
	d := newDemoted(t, 4)
	require.NoError(t, transaction.Ping(t.Context(), d.pool))
	d.demote()
	for range 3 {
		require.ErrorContains(t, transaction.Ping(t.Context(), d.pool), "1290", "there is no other server")
	}
	var rows int
	require.NoError(t, d.pool.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM facts").Scan(&rows), "it can be read")

	d.promote()
	for range 8 {
		require.NoError(t, transaction.Ping(t.Context(), d.pool), "a new connection reaches one that does")
	}
	require.NoError(t, d.write(1))
}

func TestNothingBeginsOnAServerThatTakesNoWrites(t *testing.T) {
	d := newDemoted(t, 1)
	d.demote()
	tx, err := d.pool.BeginTx(t.Context(), transaction.ReadCommitted)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	var n int
	err = tx.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM facts").Scan(&n)
	assert.ErrorContains(t, err, "1290", "a relay reads what it is about to publish")
}

func TestAServerWithoutRoomIsFullForAWhile(t *testing.T) {
	server := servertest.Empty(t)
	db := open(t, server)
	servertest.Exec(t, db, "CREATE TABLE small (text CHAR(255) NOT NULL) ENGINE = MEMORY MAX_ROWS = 1")
	require.NoError(t, transaction.Ping(t.Context(), db))
	var err error
	for err == nil {
		_, err = db.ExecContext(t.Context(), "INSERT INTO small (text) VALUES ('x'), ('y')")
	}
	require.True(t, dberror.IsFull(err), "%v", err)
	assert.True(t, dberror.IsTransient(err))

	assert.ErrorContains(t, transaction.Ping(t.Context(), db), "1114")
	assert.Eventually(t, func() bool { return transaction.Ping(t.Context(), db) == nil }, time.Minute, 10*time.Millisecond, "the next write shows")
}
