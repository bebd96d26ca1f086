package migrate_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/sql/dberror"
	"example.com/orders/sql/migrate"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/servertest"
)

func TestUpMakesEverySchemaAndThenFindsNothingToDo(t *testing.T) {
	server := servertest.Empty(t)

	fresh, err := migrate.Up(t.Context(), server)
	require.NoError(t, err)
	again, err := migrate.Up(t.Context(), server)
	require.NoError(t, err)

	assert.Empty(t, again)
	touched := map[string]bool{}
	for _, a := range fresh {
		assert.Positive(t, a.Version)
		assert.NotEmpty(t, a.Name)
		touched[a.Schema] = true
	}
	for _, name := range schema.All {
		assert.True(t, touched[name], "schema %s", name)
	}
	assert.Subset(t, tables(t, server, schema.Orders), []string{"orders", "order_items", "outbox", "outbox_shards", "inbox"})
	assert.Subset(t, tables(t, server, schema.Inventory), []string{"inventory", "reservation_log", "reservations", "stock_log", "outbox", "outbox_shards", "inbox"})
	assert.Contains(t, tables(t, server, schema.Notifications), "notifications")
}

func tables(t *testing.T, server schema.Server, name string) (found []string) {
	t.Helper()
	db, err := server.Open(name, 1)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	rows, err := db.QueryContext(t.Context(), "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()")
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var table string
		require.NoError(t, rows.Scan(&table))
		found = append(found, table)
	}
	require.NoError(t, rows.Err())
	return found
}

func TestTwoUpsAtOnceDoTheWorkOnce(t *testing.T) {
	server := servertest.Empty(t)
	once, err := migrate.Up(t.Context(), servertest.Empty(t))
	require.NoError(t, err)

	const n = 3
	var applied [n][]migrate.Applied
	var errs [n]error
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { applied[i], errs[i] = migrate.Up(t.Context(), server) })
	}
	all.Wait()

	var together []migrate.Applied
	for i := range n {
		assert.NoError(t, errs[i])
		together = append(together, applied[i]...)
	}
	assert.ElementsMatch(t, once, together)
}

func TestUpContinuesAKilledMigration(t *testing.T) {
	cases := map[string]string{
		"before the last statement was recorded": "DELETE FROM %s WHERE version_id > 0",
		"before the table of versions had a row": "DELETE FROM %s",
	}
	for name, statement := range cases {
		t.Run(name, func(t *testing.T) {
			server := servertest.Empty(t)
			first, err := migrate.Up(t.Context(), server)
			require.NoError(t, err)
			for _, name := range schema.All {
				db, err := server.Open(name, 1)
				require.NoError(t, err)
				for _, table := range tables(t, server, name) {
					if strings.HasPrefix(table, "goose_") {
						_, err := db.ExecContext(t.Context(), fmt.Sprintf(statement, table))
						require.NoError(t, err)
					}
				}
				require.NoError(t, db.Close())
			}

			again, err := migrate.Up(t.Context(), server)

			require.NoError(t, err)
			assert.Equal(t, first, again)
		})
	}
}

func TestUpNotesTheEventsThatWaitAlready(t *testing.T) {
	server := servertest.Empty(t)
	_, err := migrate.Up(t.Context(), server)
	require.NoError(t, err)
	db, err := server.Open(schema.Orders, 1)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	for _, statement := range []string{
		`INSERT INTO outbox (id, shard, aggregate_type, aggregate_id, type, payload, headers, created_at, status, next_attempt_at) VALUES
			(1, 3, 'ORDER', 'new', 't', '{}', '{}', NOW(6), 'NEW', NULL), (2, 3, 'ORDER', 'waiting', 't', '{}', '{}', NOW(6), 'ERROR', NOW(6)),
			(3, 3, 'ORDER', 'parked', 't', '{}', '{}', NOW(6), 'ERROR', NULL), (4, 3, 'ORDER', 'sent', 't', '{}', '{}', NOW(6), 'SENT', NULL)`,
		"DROP TABLE outbox_waiting",
		"DELETE FROM goose_messaging_version WHERE version_id = 3",
	} {
		_, err := db.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}

	_, err = migrate.Up(t.Context(), server)
	require.NoError(t, err)

	var waiting string
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT GROUP_CONCAT(id, ' ', aggregate_id) FROM outbox_waiting").Scan(&waiting))
	assert.Equal(t, "2 waiting", waiting)
}

func TestUpWaitsForAnotherAsLongAsItsContextLasts(t *testing.T) {
	server := servertest.Empty(t)
	admin, err := server.Open("", 1)
	require.NoError(t, err)
	defer func() { require.NoError(t, admin.Close()) }()
	var got int
	require.NoError(t, admin.QueryRowContext(t.Context(), "SELECT GET_LOCK(?, 0)", server.Prefix+"orders.migrate").Scan(&got))
	require.Equal(t, 1, got)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		applied, err := migrate.Up(ctx, server)
		assert.Empty(t, applied)
		ended <- err
	}()
	servertest.AwaitRunning(t, admin, server.Prefix+"orders.migrate", 1)
	cancel()

	err = <-ended
	assert.ErrorIs(t, err, context.Canceled)
	assert.ErrorContains(t, err, "another migration")
}

func TestUpSaysWhyItCannotUseAServer(t *testing.T) {
	cases := map[string]struct {
		server schema.Server
		says   string
	}{
		"a database in the DSN": {schema.Server{DSN: "root@tcp(127.0.0.1:1)/orders"}, "leave it out"},
		"connection refused":    {schema.Server{DSN: "root@tcp(127.0.0.1:1)/"}, "connect to the database server"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := migrate.Up(t.Context(), c.server)
			assert.ErrorContains(t, err, c.says)
		})
	}
}

// A CHECK on the value alone makes an event poison. A CHECK on a level, which other events change too, allows a retry.
func TestEveryCheckIsOfAValueOrOfALevel(t *testing.T) {
	server := servertest.Empty(t)
	_, err := migrate.Up(t.Context(), server)
	require.NoError(t, err)
	db, err := server.Open(schema.Orders, 1)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	rows, err := db.QueryContext(t.Context(), "SELECT constraint_name FROM information_schema.check_constraints WHERE constraint_schema LIKE ?", server.Prefix+"%")
	require.NoError(t, err)
	defer rows.Close()
	ofValue := map[string]bool{}
	for rows.Next() {
		var name string
		require.NoError(t, rows.Scan(&name))
		ofValue[name] = dberror.IsBadValue(&mysql.MySQLError{Number: 3819, Message: "Check constraint '" + name + "' is violated."})
	}
	require.NoError(t, rows.Err())
	assert.Equal(t, map[string]bool{
		"orders_total_amount": true, "order_items_unit_price": true, "order_items_quantity": true,
		"payments_amount": true, "prices_unit_price": true,
		"inventory_available": false, "inventory_reserved": false,
	}, ofValue)
}
