package mysqltest

import (
	"database/sql"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/orders/sql/bulk"
	"example.com/orders/sql/migrate"
	"example.com/orders/sql/schema"
)

// template has what the migrations of this build made of the first empty server of this test binary. The tests after it get
// copies, which take a fraction of the time of the migrations.
var template struct {
	sync.Mutex

	schemas map[string][]table
}

type table struct {
	create string // its CREATE TABLE
	insert string // the INSERT of one row
	rows   [][]any
}

// fill makes some migrated schemas on an empty server.
func fill(t testing.TB, s schema.Server, names ...string) {
	t.Helper()
	schemas := known(t, s)
	if schemas == nil {
		return
	}
	for _, name := range names {
		copyTo(t, s, name, schemas[name])
	}
}

// known returns the schemas of the template. The first call makes it, by migrating all schemas of s, and returns nil.
func known(t testing.TB, s schema.Server) map[string][]table {
	t.Helper()
	template.Lock()
	defer template.Unlock()
	if template.schemas != nil {
		return template.schemas
	}
	_, err := migrate.Up(t.Context(), s)
	require.NoError(t, err)
	schemas := map[string][]table{}
	for _, name := range schema.All {
		schemas[name] = tables(t, s, name)
	}
	template.schemas = schemas
	return nil
}

// tables reads the tables of a schema and their rows.
func tables(t testing.TB, s schema.Server, name string) (all []table) {
	t.Helper()
	db := admin(t, s, name)
	for _, row := range rows(t, db, "SHOW TABLES") {
		named := quoted(text(row[0]))
		one := table{create: text(rows(t, db, "SHOW CREATE TABLE "+named)[0][1]), rows: rows(t, db, "SELECT * FROM "+named)}
		if len(one.rows) > 0 {
			one.insert = "INSERT INTO " + named + " VALUES (?" + strings.Repeat(", ?", len(one.rows[0])-1) + ")"
		}
		all = append(all, one)
	}
	return all
}

// copyTo makes a schema with tables.
func copyTo(t testing.TB, s schema.Server, name string, tables []table) {
	t.Helper()
	require.NoError(t, migrate.Create(t.Context(), admin(t, s, ""), s.Prefix+name))
	db := admin(t, s, name)
	statements := []string{"SET SESSION foreign_key_checks = 0"} // a table may refer to one that comes later
	for _, one := range tables {
		statements = append(statements, one.create)
	}
	_, err := db.ExecContext(t.Context(), strings.Join(statements, ";\n"))
	require.NoError(t, err, "copy the schema %s", name)
	for _, one := range tables {
		require.NoError(t, bulk.Insert(t.Context(), db, one.insert, one.rows, slices.Clone[[]any]))
	}
}

func quoted(name string) string { return "`" + name + "`" }

// admin returns a pool of one connection, which ends with the test.
func admin(t testing.TB, s schema.Server, name string) *sql.DB {
	t.Helper()
	db, err := s.Open(name, 1)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// rows returns the rows of a query.
func rows(t testing.TB, db *sql.DB, query string) (all [][]any) {
	t.Helper()
	answer, err := db.QueryContext(t.Context(), query)
	require.NoError(t, err)
	defer func() { _ = answer.Close() }() // Err returns its error
	columns, err := answer.Columns()
	require.NoError(t, err)
	for answer.Next() {
		row, places := make([]any, len(columns)), make([]any, len(columns))
		for i := range row {
			places[i] = &row[i]
		}
		require.NoError(t, answer.Scan(places...))
		all = append(all, row)
	}
	require.NoError(t, answer.Err(), "read %s", query)
	return all
}

// text is a value of a column of characters.
func text(value any) string { return string(value.([]byte)) }
