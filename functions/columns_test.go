package functions_test

import (
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/web/identity"
	"example.com/orders/sql/schema"
)

// column is a text column, in all tables that have it.
type column struct {
	name    string
	charset string
	width   int
}

// textColumns lists the text columns of all schemas but operations, which cuts its texts to fit, without types that hold no
// free text.
func textColumns(t *testing.T) (all []column) {
	t.Helper()
	server := mysqltest.Server(t)
	db := mysqltest.Pool(t, server, schema.Orders)
	rows, err := db.QueryContext(t.Context(), `SELECT DISTINCT column_name, character_set_name, character_maximum_length FROM information_schema.columns
		WHERE table_schema IN (?, ?, ?, ?) AND data_type IN ('varchar', 'char') AND table_name NOT LIKE 'goose%'`,
		server.Prefix+schema.Orders, server.Prefix+schema.Inventory, server.Prefix+schema.Payments, server.Prefix+schema.Notifications)
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var c column
		require.NoError(t, rows.Scan(&c.name, &c.charset, &c.width))
		all = append(all, c)
	}
	require.NoError(t, rows.Err())
	return all
}

func TestColumnsTakeExactlyWhatEventsAndRequestsMayHave(t *testing.T) {
	created := functiontest.Created(t, events.Item{SKU: "SKU-123", Quantity: 1, UnitPrice: 1})
	decodes := func(change func(*event.Event)) bool {
		e := functiontest.Event(t, created, 1)
		change(&e)
		_, err := events.Decode[events.OrderCreated](e)
		return err == nil
	}
	checked := map[string]struct {
		charset string
		// text has n characters, each of the longest encoding that is accepted.
		text    func(n int) string
		accepts func(string) bool
	}{
		"event_id": {"utf8mb4", func(n int) string { return strings.Repeat("😀", n) }, func(s string) bool {
			return decodes(func(e *event.Event) { e.SetID(s) })
		}},
		"sku":            {"ascii", func(n int) string { return strings.Repeat("Z", n) }, events.ValidSKU},
		"correlation_id": {"ascii", func(n int) string { return strings.Repeat("c", n) }, events.ValidCorrelationID},
		"reference":      {"ascii", func(n int) string { return strings.Repeat("r", n) }, events.ValidReference},
		"failure_reason": {"ascii", func(n int) string { return strings.Repeat("r", n) }, func(s string) bool {
			return events.OrderFailed{OrderID: created.OrderID, CustomerEmail: created.CustomerEmail, Reason: s, CreatedAt: created.CreatedAt}.Validate() == nil
		}},
		// These bounds are in octets, and a character has at least one.
		"customer_email": {"utf8mb4", func(n int) string {
			return strings.Repeat("a", 64) + "@" + strings.Repeat("b", 63) + "." + strings.Repeat("c", 63) + "." + strings.Repeat("d", n-193)
		}, func(s string) bool {
			return events.CreateOrder{CustomerEmail: s, Items: created.Items}.Validate() == nil
		}},
		// The column has what the longest issuer, a space and the longest subject need: see identity.New and Verify.
		"owner":    {"ascii", func(n int) string { return strings.Repeat("o", n) }, func(s string) bool { return len(s) <= identity.MaxOwner }},
		"order_id": {"ascii", func(n int) string { return created.OrderID + strings.Repeat("0", n-len(created.OrderID)) }, events.ValidOrderID},
		"id":       {"ascii", func(n int) string { return created.OrderID + strings.Repeat("0", n-len(created.OrderID)) }, events.ValidOrderID},
	}
	// These have a known set of values, are generated, or are cut or checked where they are stored.
	ours := []string{"source", "type", "consumer", "aggregate_type", "aggregate_id", "currency", "claim", "last_error", "reason", "actor"}
	var found []string
	for _, c := range textColumns(t) {
		found = append(found, c.name)
		limit, ok := checked[c.name]
		if !ok {
			assert.Contains(t, ours, c.name, "say what bounds the texts of this column")
			continue
		}
		assert.Equal(t, limit.charset, c.charset, c.name)
		assert.True(t, limit.accepts(limit.text(c.width)), "%s: what fits is refused", c.name)
		assert.False(t, limit.accepts(limit.text(c.width+1)), "%s: what does not fit is taken", c.name)
	}
	for name := range checked {
		assert.Contains(t, found, name)
	}
}
