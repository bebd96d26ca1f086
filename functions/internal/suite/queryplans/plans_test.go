// Package queryplans_test checks every query and every other statement on the services' tables for scalability: it reads few
// rows however many there are, or is on a short list of exceptions with its reason.
package queryplans_test

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/inventory"
	"example.com/orders/sql/messaging"
	"example.com/orders/sql/notifications"
	"example.com/orders/sql/operations"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/payments"
	"example.com/orders/sql/schema"
)

const (
	page = 20  // the limit of queries that take one
	few  = 200 // the bound of rows that a statement may read: some per row of a page, and per shard
)

// readers lists the statements that read more rows the more there are, with the reason.
var readers = map[string]string{
	"inventory.WatchStock":           "adds up all SKUs for the gauges: they grow with the catalogue and not with the orders",
	"messaging.CountSentBefore":      "shows an operator what a purge would delete: an index by time would be paid for by every event",
	"orders.ListKeysUsedTwice":       "the auditor looks at every key, by their index alone",
	"orders.ListOwnedOrdersByStatus": "looks through the orders of one customer: an index by owner and status would be paid for by every order",
	"orders.TallyStatuses":           "counts all orders for the gauges and the console, by the index of the statuses alone",
	"payments.TallyPayments":         "counts all payments for the console, by the index of the requests alone",
}

// calls has the arguments of each statement of a package for one call that finds rows.
type calls map[string][]any

// statements are those of a package of queries: the methods of its Queries, generated or handwritten.
type statements struct {
	schema  string
	queries func(mysqltest.Conn) any
	calls   calls
}

var packages = map[string]statements{
	"inventory":     {schema.Inventory, func(c mysqltest.Conn) any { return inventory.New(c) }, inventoryCalls},
	"messaging":     {schema.Orders, func(c mysqltest.Conn) any { return messaging.New(c) }, messagingCalls},
	"notifications": {schema.Notifications, func(c mysqltest.Conn) any { return notifications.New(c) }, notificationCalls},
	"operations":    {schema.Operations, func(c mysqltest.Conn) any { return operations.New(c) }, operationCalls},
	"payments":      {schema.Payments, func(c mysqltest.Conn) any { return payments.New(c) }, paymentCalls},
	"orders":        {schema.Orders, func(c mysqltest.Conn) any { return orders.New(c) }, orderCalls},
}

// names lists the statements, which are the methods that take a context.
func (s statements) names() (names []string) {
	queries := reflect.TypeOf(s.queries(nil))
	for method := range queries.Methods() {
		if method.Type.NumIn() > 1 && method.Type.In(1) == reflect.TypeFor[context.Context]() {
			names = append(names, method.Name)
		}
	}
	return names
}

var queryName = regexp.MustCompile(`(?m)^-- name: (\w+) :`)

// TestEveryStatementIsCalled fails if a query is missing here, or was removed.
func TestEveryStatementIsCalled(t *testing.T) {
	files, err := filepath.Glob("../../../../sql/*/queries/*.sql")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	written := map[string][]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		name := filepath.Base(filepath.Dir(filepath.Dir(file)))
		for _, query := range queryName.FindAllStringSubmatch(string(text), -1) {
			written[name] = append(written[name], query[1])
		}
	}
	known := map[string]bool{}
	for name, p := range packages {
		require.Subset(t, p.names(), written[name], "generate the code of the queries of %s", name)
		delete(written, name)
		for _, statement := range p.names() {
			known[name+"."+statement] = true
			_, called := p.calls[statement]
			assert.True(t, called, "give %s.%s arguments that find something", name, statement)
		}
		for statement := range p.calls {
			assert.True(t, known[name+"."+statement], "%s has no statement %s", name, statement)
		}
	}
	assert.Empty(t, written, "packages of queries that are not looked at")
	for statement := range readers {
		assert.True(t, known[statement], "there is no statement %s", statement)
	}
}

// TestEveryStatementReadsFewRows checks each statement's plan, and counts the rows that it actually reads, including those
// for sorting.
func TestEveryStatementReadsFewRows(t *testing.T) {
	for waits, share := range map[string]int{"little waits": 200, "much waits": 5} {
		t.Run(waits, func(t *testing.T) {
			server := mysqltest.Server(t)
			pools := map[string]*sql.DB{}
			for _, name := range schema.All {
				pools[name] = mysqltest.Pool(t, server, name)
			}
			fill(t, pools, share)
			for name, p := range packages {
				for _, statement := range p.names() {
					t.Run(name+"."+statement, func(t *testing.T) {
						plan, read := p.run(t, pools[p.schema], statement, readers[name+"."+statement] == "")
						if readers[name+"."+statement] != "" {
							assert.Greater(t, read, few, "it reads few rows: take it off the list")
							return
						}
						assert.LessOrEqual(t, read, few, "rows were read: %v", plan.Lookups)
						for _, l := range plan.Lookups {
							assert.False(t, scans(t, plan.Query, l), "%s is read from end to end: %v", l.Table, plan.Lookups)
						}
					})
				}
			}
		})
	}
}

// run runs a statement in a transaction that is rolled back, and returns its plan and the number of rows that the server
// read.
func (s statements) run(t *testing.T, db *sql.DB, statement string, finds bool) (plan *mysqltest.Planner, read int) {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, tx.Rollback()) }()
	plan = mysqltest.NewPlanner(t, tx)
	arguments := []reflect.Value{reflect.ValueOf(t.Context())}
	for _, a := range s.calls[statement] {
		arguments = append(arguments, reflect.ValueOf(a))
	}
	method := reflect.ValueOf(s.queries(plan)).MethodByName(statement)
	require.Len(t, arguments, method.Type().NumIn(), "the arguments")
	var results []reflect.Value
	read = mysqltest.RowsRead(t, tx, func() { results = method.Call(arguments) })
	require.Nil(t, results[len(results)-1].Interface(), "the error")
	if finds && len(results) > 1 {
		assert.NotEmpty(t, results[0].Interface(), "it finds nothing: so it says little of what it reads")
	}
	return plan, read
}

// scans returns whether a growing table is scanned, even through an index. A table that is read through an index without a
// condition is read in order, up to the limit.
func scans(t *testing.T, query string, l mysqltest.Lookup) bool {
	t.Helper()
	if l.Kind == "INSERT" || strings.HasPrefix(l.Table, "<") || strings.Contains(l.Extra, "Table function") {
		return false // new rows, the rows of a subquery, a list
	}
	if table := tableOf(query, l.Table); table != "outbox_shards" {
		require.True(t, slices.ContainsFunc(growing, func(g rows) bool { return g.table == table }), "nothing is in %s", table)
		return l.Access == "ALL" || l.Access == "index" && strings.Contains(l.Extra, "Using where")
	}
	return false
}

var tableName = regexp.MustCompile(`\b(?:FROM|JOIN|STRAIGHT_JOIN|UPDATE)\s+(\w+)(?:\s+(\w+))?`)

// tableOf returns the table with a name or an alias in a query.
func tableOf(query, name string) string {
	for _, found := range tableName.FindAllStringSubmatch(query, -1) {
		if name == found[1] || name == found[2] {
			return found[1]
		}
	}
	return name
}
