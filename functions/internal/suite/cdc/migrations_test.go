package cdc

import (
	"embed"
	"io/fs"
	"testing"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/sql/messaging"
	"example.com/orders/sql/migrate"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/servertest"
)

// first creates the schema of the orders on a server as the first release had it, with the tables of versions that migrate.Up
// continues.
func first(t *testing.T, s schema.Server) {
	t.Helper()
	admin, err := s.Open("", 1)
	require.NoError(t, err)
	defer func() { require.NoError(t, admin.Close()) }()
	require.NoError(t, migrate.Create(t.Context(), admin, s.Prefix+schema.Orders))
	db, err := s.Open(schema.Orders, 2)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	for table, files := range map[string]embed.FS{"goose_messaging_version": messaging.Migrations, goose.DefaultTablename: orders.Migrations} {
		folder, err := fs.Sub(files, "migrations")
		require.NoError(t, err)
		store, err := database.NewStore(database.DialectMySQL, table)
		require.NoError(t, err)
		provider, err := goose.NewProvider("", db, folder, goose.WithStore(store))
		require.NoError(t, err)
		_, err = provider.UpTo(t.Context(), 1)
		require.NoError(t, err)
	}
}

// The schema is migrated from the first release to the newest one while rows are written and the connector reads them: each row
// has the record that a relay of the newest release publishes.
func TestEachRowHasItsRecordThroughAllMigrations(t *testing.T) {
	s := start(t, "cdc")
	newest := s.pool(schema.Orders)
	s.server = servertest.Empty(t)
	first(t, s.server)
	s.wiring.Connectors = s.wiring.Connectors[:1]
	s.capture()
	c := &captured{system: s, connector: s.connectors()[0]}
	require.Equal(t, schema.Orders, c.connector.Schema)
	before := len(c.store(5))

	type result struct {
		applied []migrate.Applied
		err     error
	}
	ended := make(chan result, 1)
	go func() {
		applied, err := migrate.Up(t.Context(), s.server)
		ended <- result{applied, err}
	}()
	var migrated result
	for under := true; under; {
		c.store(1)
		select {
		case migrated = <-ended:
			under = false
		default:
		}
	}
	require.NoError(t, migrated.err)
	var changes []string
	for _, m := range migrated.applied {
		if m.Schema == schema.Orders {
			changes = append(changes, m.Name)
		}
	}
	assert.Subset(t, changes, []string{"00002_outbox_discarded.sql", "00003_outbox_waiting.sql", "00006_search_lines.sql"})
	assert.NotContains(t, changes, "00001_outbox_inbox.sql")
	during := len(c.stored) - before
	assert.Greater(t, during, 5, "rows were written meanwhile")
	c.store(5)
	c.complete()

	relayed := kafkatest.Start(t)
	w := s.topicsOf("base", relayed)
	outboxtest.Store(t, newest, time.Now(), c.stored...)
	require.Equal(t, len(c.stored), s.relay(relayed, outbox.Relay{DB: newest}))
	want, _ := seen(t, relayed, w)
	got, _ := seen(t, s.Cluster, s.wiring)
	c.assertRepeatsAreEqual()
	assert.Equal(t, byKey(want), byKey(got))
}

// byKey has the last record of each key.
func byKey(all map[string][]record) map[string]record {
	last := map[string]record{}
	for _, records := range all {
		for _, r := range records {
			last[r.Key] = r
		}
	}
	return last
}
