package main

import (
	"cmp"
	"database/sql"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/operate/bench"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/schema"
)

// rowsOf returns the rows of an order in a table, without what differs between orders. JSON is replaced by its names.
func (p *process) rowsOf(t *testing.T, name, table, column, order string) (all []map[string]string) {
	t.Helper()
	run, err := readRun(p.stack.data)
	require.NoError(t, err)
	db, err := schema.Server{DSN: run.DSN, Prefix: p.stack.variable("MYSQL_SCHEMA_PREFIX")}.Open(name, 1)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	columns, rows := mysqltest.Values(t, db, "SELECT * FROM "+table+" WHERE "+column+" LIKE ?", order+"%")
	for _, values := range rows {
		one := map[string]string{}
		for i, column := range columns {
			one[column] = shapeOf(t, column, order, values[i])
		}
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b map[string]string) int {
		return cmp.Or(cmp.Compare(a["type"], b["type"]), cmp.Compare(a["event_id"], b["event_id"]))
	})
	return all
}

// alike are the columns whose values two orders of the same lines and the same end have in common.
var alike = map[string]bool{
	"status": true, "type": true, "version": true, "total_amount": true, "currency": true, "failure_reason": true, "quantity": true, "unit_price": true,
	"source": true, "consumer": true, "aggregate_type": true, "attempts": true, "order_version": true, "delta_reserved": true,
}

// shapeOf returns what a value has in common with that of another order.
func shapeOf(t *testing.T, column, order string, value sql.NullString) string {
	t.Helper()
	switch {
	case !value.Valid:
		return "NULL"
	case column == "payload", column == "headers":
		return strings.Join(namesIn(t, value.String), " ")
	case column == "event_id":
		return strings.TrimPrefix(value.String, order)
	case alike[column]:
		return value.String
	default:
		return "a value"
	}
}

// namesIn lists the names in a JSON object and the objects in it.
func namesIn(t *testing.T, text string) (names []string) {
	t.Helper()
	var fields map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(text), &fields))
	for name, value := range fields {
		names = append(names, name)
		if value[0] == '{' {
			names = append(names, namesIn(t, string(value))...)
		}
	}
	slices.Sort(names)
	return names
}

func TestBenchFillsAStackWithWhatTheFunctionsWouldHaveLeft(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	var r bench.Report

	b := runBench(t, append(s.environ, "ORDER_CREATED_VERSION=1"), &r, "--data", s.data, "--fill", "60", "--fill-over", "24h", "--orders", "20", "--skus", "20")

	assert.Equal(t, []int{20, 20, 0, 0}, []int{r.Accepted, r.Confirmed, r.Failed, r.Lost})
	require.NotNil(t, r.Audit)
	assert.Zero(t, r.Audit.Breaches())
	assert.Contains(t, b.log.String(), "writing 60 ended orders of the last 24h0m0s")
	p := s.up(t)
	var page struct{ Orders []order }
	require.Equal(t, http.StatusOK, p.get(t, "/api/orders?limit=100", &page))
	require.Len(t, page.Orders, 90)
	placed, past := page.Orders[0].OrderID, page.Orders[89-2].OrderID // the first has failed, and the second was canceled

	for _, table := range []struct{ schema, name, column string }{
		{schema.Orders, "orders", "id"},
		{schema.Orders, "order_items", "order_id"},
		{schema.Orders, "outbox", "aggregate_id"},
		{schema.Orders, "inbox", "event_id"},
		{schema.Inventory, "reservations", "order_id"},
		{schema.Inventory, "reservation_log", "order_id"},
		{schema.Inventory, "outbox", "aggregate_id"},
		{schema.Inventory, "inbox", "event_id"},
		{schema.Notifications, "conversations", "order_id"},
		{schema.Notifications, "notifications", "order_id"},
	} {
		assert.Equal(t, p.rowsOf(t, table.schema, table.name, table.column, placed), p.rowsOf(t, table.schema, table.name, table.column, past), "%s.%s", table.schema, table.name)
	}
	require.Equal(t, http.StatusOK, p.do(t, http.MethodPost, "/api/orders/"+past+"/cancel", nil, "", nil))
	p.awaitStatus(t, past, "CANCELED")
	p.audit(t)
}

func TestBenchRefusesToFillWhatRunsOrIsPaid(t *testing.T) {
	err := run(t.Context(), []string{"bench", "--running", "--data", t.TempDir(), "--fill", "1"}, streams{io.Discard, io.Discard})
	require.ErrorContains(t, err, "for a stack that bench starts")
	t.Setenv("HARNESS_OVERLAY", "payment")
	err = run(t.Context(), []string{"bench", "--fill", "1"}, streams{io.Discard, io.Discard})
	require.ErrorContains(t, err, "without payments")
	assert.Equal(t, exitUsage, exitCode(err))
}
