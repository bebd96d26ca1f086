package cdc_test

import (
	"database/sql"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/sql/cdc"
	"example.com/orders/sql/migrate"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/servertest"
)

// open returns the migrated schema of orders on a MySQL; connectors read no other server.
func open(t *testing.T) *sql.DB {
	t.Helper()
	s := servertest.Empty(t)
	_, err := migrate.Up(t.Context(), s)
	require.NoError(t, err)
	db, err := s.Open(schema.Orders, 2)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	var version string
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT VERSION()").Scan(&version))
	if strings.Contains(version, "MariaDB") {
		t.Skip("needs MySQL: " + version)
	}
	return db
}

const insert = "INSERT INTO outbox (shard, aggregate_type, aggregate_id, type, payload, headers, created_at) VALUES (0, 'ORDER', 'o-1', 'order.created', ?, ?, NOW(6))"

func TestTheRouteNamesWhatIsMissing(t *testing.T) {
	db := open(t)
	before := stored(t, db, `{}`, `{"id":"o-1#0"}`)
	added, err := cdc.AddColumns(t.Context(), db)
	require.NoError(t, err)
	assert.Equal(t, 11, added)
	again, err := cdc.AddColumns(t.Context(), db)
	require.NoError(t, err)
	assert.Zero(t, again)
	missing, err := cdc.Missing(t.Context(), db)
	require.NoError(t, err)
	assert.Empty(t, missing)

	const event = `{"id":"o-1#1","source":"/orders","subject":"o-1","time":"2026-01-02T03:04:05Z","datacontenttype":"application/json"`
	for headers, want := range map[string]string{
		event + `,"dataschema":"s","extensions":{"partitionkey":"o-1","correlationid":"c","causationid":"d","traceparent":"t","tracestate":"u"}}`: "order.created~",
		event + `,"dataschema":"s","extensions":{"partitionkey":"o-1","correlationid":"c","causationid":"d"}}`:                                    "order.created~traceparent~tracestate~",
		event + `,"extensions":{"partitionkey":"o-1"}}`:                  "order.created~dataschema~correlationid~causationid~traceparent~tracestate~",
		event + `,"extensions":{"partitionkey":"o-1","loyalty":"gold"}}`: "-",
		event + `,"extensions":{"partitionkey":"other"}}`:                "-",
		event + `,"extensions":{"correlationid":"c"}}`:                   "-",
		event + `}`: "-",
		strings.Replace(event, `"subject":"o-1"`, `"subject":"x"`, 1) + `,"extensions":{"partitionkey":"o-1"}}`: "-",
		strings.Replace(event, "05Z", "05+01:00", 1) + `,"extensions":{"partitionkey":"o-1"}}`:                  "-",
		`{}`: "-",
	} {
		assert.Equal(t, want, route(t, db, stored(t, db, `{}`, headers)), headers)
	}
	assert.Equal(t, "-", route(t, db, stored(t, db, "", event+`,"extensions":{"partitionkey":"o-1"}}`)), "without data")
	assert.Equal(t, "-", route(t, db, before), "of a row from before")

	removed, err := cdc.RemoveColumns(t.Context(), db)
	require.NoError(t, err)
	assert.Equal(t, 11, removed)
	stored(t, db, `{}`, `{}`)
}

func stored(t *testing.T, db *sql.DB, payload, headers string) int64 {
	t.Helper()
	r, err := db.ExecContext(t.Context(), insert, payload, headers)
	require.NoError(t, err)
	id, err := r.LastInsertId()
	require.NoError(t, err)
	return id
}

func route(t *testing.T, db *sql.DB, id int64) (route string) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT ce_route FROM outbox WHERE id = ?", id).Scan(&route))
	return route
}

func TestTheUserGetsNoMoreThanItNeeds(t *testing.T) {
	assert.Equal(t, []string{
		`CREATE USER IF NOT EXISTS 'c''dc'@'%'`,
		`ALTER USER 'c''dc'@'%' IDENTIFIED BY 'a\\b''c'`,
		`GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'c''dc'@'%'`,
		"GRANT SELECT ON `t_orders`.outbox TO 'c''dc'@'%'",
	}, cdc.Statements(schema.Server{Prefix: "t_"}, "c'dc", `a\b'c`, []string{"orders"}))
}

func TestAServerWithoutALogIsRefused(t *testing.T) {
	db := open(t)
	var on bool
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT @@log_bin").Scan(&on))
	err := cdc.Check(t.Context(), db)
	if on {
		require.NoError(t, err)
		return
	}
	require.ErrorIs(t, err, cdc.ErrNoBinlog)
}
