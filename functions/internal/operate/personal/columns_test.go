package personal

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/schema"
)

// stored is a column of a server.
type stored struct {
	table, name, kind, full string
	generated               bool // AUTO_INCREMENT
}

// columnsOf lists the columns of a schema, without those of goose.
func columnsOf(t *testing.T, server schema.Server, db *sql.DB, name string) (found []stored) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `SELECT table_name, column_name, data_type, column_type, extra LIKE '%auto_increment%'
		FROM information_schema.columns WHERE table_schema = ? AND table_name NOT LIKE 'goose%' ORDER BY table_name, ordinal_position`, server.Prefix+name)
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var c stored
		require.NoError(t, rows.Scan(&c.table, &c.name, &c.kind, &c.full, &c.generated))
		found = append(found, c)
	}
	require.NoError(t, rows.Err())
	return found
}

func TestEveryColumnSaysWhatItMayTellAboutACustomer(t *testing.T) {
	server := mysqltest.Server(t)
	assert.ElementsMatch(t, schema.All, sequence)
	for _, name := range schema.All {
		var existing, known []string
		for _, c := range columnsOf(t, server, mysqltest.Pool(t, server, name), name) {
			existing = append(existing, c.table+"."+c.name)
		}
		for _, table := range tables[name] {
			for column := range table.columns {
				known = append(known, table.name+"."+column)
			}
			if len(table.personal()) > 0 {
				assert.NotEmpty(t, table.key, table.name)
			}
		}
		assert.ElementsMatch(t, existing, known, "schema %s: give each new column a class in columns.go, and take away those that are gone", name)
	}
	assert.Equal(t, "orders", tables[schema.Orders][len(tables[schema.Orders])-1].name, "orders are found by it, so it comes last")
}

const (
	marker  = "Zoë.O'Marker&Sons_50%+tag@marker.example" // every letter that SQL, JSON or a pattern could read as something else
	subject = "https://login.example.com/realms/shop marker-subject"
	orderID = "0190b6f2-6a3c-7d1e-8000-000000000001"
)

// value returns what a test writes to a column: the marker wherever its class allows one.
func value(table table, c stored, upper bool) any {
	address := marker
	if upper {
		address = strings.ToUpper(marker)
	}
	class := table.columns[c.name]
	switch {
	case class == Address:
		return address
	case class == Hash:
		return orders.CustomerHash("", marker)
	case class == Owner:
		return subject
	case class == Event && c.name == "corrected":
		return "\x00\x02" + address // as in Avro
	case class == Event:
		return fmt.Sprintf(`{"customerEmail":"%s","escaped":"%s"}`, address, strings.ReplaceAll(address, "&", `\u0026`))
	case class == Text:
		return "550 <" + address + ">"
	case c.name == table.order && table.prefix, c.name == "event_id":
		return orderID + "#2"
	case c.name == table.order, c.name == "order_id", c.name == "aggregate_id":
		return orderID
	case c.name == "status" && table.name == "orders":
		return "CONFIRMED"
	case c.name == "status" && table.name == "outbox":
		return "SENT"
	case c.kind == "enum":
		literal, _, _ := strings.Cut(strings.TrimPrefix(c.full, "enum("), ",")
		return strings.Trim(literal, "'")
	case c.kind == "datetime":
		return "2026-11-29 12:00:00"
	case c.kind == "binary":
		return strings.Repeat("k", 32)
	case c.kind == "char":
		return "EUR"
	case strings.HasPrefix(c.kind, "var"):
		return "x"
	}
	return 1
}

// fill writes a row to every table, with the marker in every column whose class allows it.
func fill(t *testing.T, server schema.Server, pools map[string]*sql.DB) {
	t.Helper()
	for _, name := range schema.All {
		conn, err := pools[name].Conn(t.Context())
		require.NoError(t, err)
		_, err = conn.ExecContext(t.Context(), "SET foreign_key_checks = 0")
		require.NoError(t, err)
		byTable := map[string][]stored{}
		for _, c := range columnsOf(t, server, pools[name], name) {
			byTable[c.table] = append(byTable[c.table], c)
		}
		for n, table := range tables[name] {
			var names, marks []string
			var values []any
			for _, c := range byTable[table.name] {
				if !c.generated {
					names, marks, values = append(names, c.name), append(marks, "?"), append(values, value(table, c, n%2 == 1 && table.name != "orders"))
				}
			}
			_, err := conn.ExecContext(t.Context(), "INSERT INTO "+table.name+" ("+strings.Join(names, ", ")+") VALUES ("+strings.Join(marks, ", ")+") ON DUPLICATE KEY UPDATE "+names[0]+" = "+names[0], values...)
			require.NoError(t, err, "%s.%s", name, table.name)
		}
		_, err = conn.ExecContext(t.Context(), "SET foreign_key_checks = 1")
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	}
}

// dump returns every row of every table, as text.
func dump(t *testing.T, pools map[string]*sql.DB) (lines []string) {
	t.Helper()
	for _, name := range schema.All {
		for _, table := range tables[name] {
			for _, row := range mysqltest.Rows(t, pools[name], "SELECT * FROM "+table.name) {
				lines = append(lines, name+"."+table.name+": "+row)
			}
		}
	}
	return lines
}

// marked returns the lines that tell about the customer.
func marked(lines []string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
		return !strings.Contains(strings.ToLower(line), "marker") && !strings.Contains(line, string(orders.CustomerHash("", marker)))
	})
}
