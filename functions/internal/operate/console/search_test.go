package console_test

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/schema"
)

// foundOrders is an answer to a search for orders.
type foundOrders struct {
	Orders     []struct{ OrderID string }
	Next, Back string
}

func (f foundOrders) ids() (ids []string) {
	for _, o := range f.Orders {
		ids = append(ids, o.OrderID)
	}
	return ids
}

// search answers one request of a search.
func (b *bench) search(what, term, before string) (answer foundOrders) {
	b.t.Helper()
	b.do(http.MethodGet, "/console/search/"+what+"?"+url.Values{"q": {term}, "before": {before}}.Encode(), "", &answer)
	return answer
}

// add stores an order of a customer with a flow and a SKU, and returns its id.
func (b *bench) add(email, flow, sku string) string {
	b.t.Helper()
	id := functiontest.OrderID()
	db := b.pool(schema.Orders)
	functiontest.Order(b.t, db, id, orders.OrdersStatusCONFIRMED)
	_, err := db.ExecContext(b.t.Context(), "UPDATE orders SET customer_email = ?, correlation_id = ? WHERE id = ?", email, flow, id)
	require.NoError(b.t, err)
	require.NoError(b.t, orders.New(db).InsertItem(b.t.Context(), orders.InsertItemParams{OrderID: id, Sku: sku, UnitPrice: 1, Quantity: 1}))
	return id
}

func TestOrdersAreFoundByWhatAnOperatorKnows(t *testing.T) {
	b := newBench(t)
	alice := b.add("alice_1@example.com", "flow-1", "SKU-7")
	bob := b.add("bob@example.com", "flow-2", "SKU-8")
	other := b.add("aliceX1@example.com", "flow-1", "SKU-7")
	for name, c := range map[string]struct {
		what, term string
		ids        []string
	}{
		"an address":                {"orders", "bob@example.com", []string{bob}},
		"an address in upper case":  {"orders", "BOB@", []string{bob}},
		"a part, newest first":      {"orders", "alice", []string{other, alice}},
		"a part with a wildcard":    {"orders", "alice_", []string{alice}},
		"another wildcard":          {"orders", "a%e", nil},
		"a correlation id":          {"orders", "flow-1", []string{other, alice}},
		"no part of a flow":         {"orders", "flow", nil},
		"an order id":               {"orders", bob, []string{bob}},
		"what a list shows of it":   {"orders", bob[24:], []string{bob}},
		"a letter that is no ASCII": {"orders", "日", nil},
		"a SKU":                     {"lines", "SKU-7", []string{other, alice}},
		"no part of a SKU":          {"lines", "SKU", nil},
		"no SKU":                    {"lines", "a b", nil},
	} {
		t.Run(name, func(t *testing.T) {
			answer := b.search(c.what, c.term, "")
			assert.Equal(t, c.ids, answer.ids())
			assert.Empty(t, answer.Next, "all was looked through")
		})
	}
	for _, path := range []string{"", "/orders", "/lines"} {
		for _, query := range []string{"", "q=+", "q=" + fmt.Sprintf("%0255d", 0)} {
			status, _ := b.do(http.MethodGet, "/console/search"+path+"?"+query, "", nil)
			assert.Equal(t, http.StatusBadRequest, status, query)
		}
	}
	for _, path := range []string{"orders?q=a&before=1", "lines?q=a&before=x", "lines?q=a&before=-1"} {
		status, _ := b.do(http.MethodGet, "/console/search/"+path, "", nil)
		assert.Equal(t, http.StatusBadRequest, status, path)
	}
}

// TestASearchComesToTheOldestOrder searches among more orders than one statement reads, and more than one answer has.
func TestASearchComesToTheOldestOrder(t *testing.T) {
	b := newBench(t)
	oldest := b.add("needle@example.com", "flow", "NEEDLE")
	db := b.pool(schema.Orders)
	for i := range 5 {
		const later = "CONCAT('ff000000-0000-7000-8000-', LPAD(n.i + ?, 12, '0'))"
		fill(t, db, "orders", "id, customer_email, status, total_amount, currency, version, request_hash, correlation_id, created_at, updated_at",
			later+", 'alice@example.com', 'CONFIRMED', 1, 'EUR', 2, REPEAT('x', 32), 'flow-2', NOW(6), NOW(6)", i*10_000)
		fill(t, db, "order_items", "order_id, sku, unit_price, quantity", later+", 'HAY', 1, 1", i*10_000)
	}
	for what, term := range map[string]string{"orders": "needle", "lines": "NEEDLE"} {
		next, ids := "", []string(nil)
		for begun := false; !begun || next != ""; begun = true {
			answer := b.search(what, term, next)
			next, ids = answer.Next, append(ids, answer.ids()...)
		}
		assert.Equal(t, []string{oldest}, ids, what)
	}
	for what, term := range map[string]string{"orders": "alice", "lines": "HAY"} {
		first := b.search(what, term, "")
		require.Len(t, first.Orders, 50, what)
		assert.Equal(t, "ff000000-0000-7000-8000-000000049999", first.Orders[0].OrderID)
		second := b.search(what, term, first.Next)
		require.Len(t, second.Orders, 50, what)
		assert.Equal(t, "ff000000-0000-7000-8000-000000049949", second.Orders[0].OrderID, what)
	}
	assert.NotEmpty(t, b.search("orders", "alice", "").Back)
}

func TestAnIDLeadsToItsPages(t *testing.T) {
	b := newBench(t)
	id := b.add("alice@example.com", "flow", "SKU-7")
	_, err := b.pool(schema.Inventory).ExecContext(t.Context(), "INSERT INTO inventory (sku, available_qty, reserved_qty, version, updated_at) VALUES ('SKU-7', 1, 0, 1, NOW(6))")
	require.NoError(t, err)
	type link struct {
		Kind, ID, Path string
		Only           bool
	}
	for term, want := range map[string][]link{
		id:                          {{"order", id, "/orders/" + id, true}},
		" " + id + "#2 ":            {{"order", id, "/orders/" + id, true}},
		functiontest.OrderID():      {},
		"SKU-7":                     {{"SKU", "SKU-7", "/stock?q=SKU-7", false}},
		"SKU-8":                     {},
		"order.created.dlq/0/12":    {{"dead letter", "order.created.dlq/0/12", "/deadletters?letter=order.created.dlq%2F0%2F12", true}},
		"inventory/17":              {{"row of an outbox", "inventory/17", "/outbox?row=inventory%2F17", true}},
		"nothing/17":                {},
		"alice@example.com' OR 1=1": {},
	} {
		var links []link
		b.do(http.MethodGet, "/console/search?"+url.Values{"q": {term}}.Encode(), "", &links)
		assert.Equal(t, want, links, term)
	}
}

func TestTheStockIsReadByPageAndByTheBeginningOfASKU(t *testing.T) {
	b := newBench(t)
	fill(t, b.pool(schema.Inventory), "inventory", "sku, available_qty, reserved_qty, version, updated_at",
		"CONCAT(IF(n.i < 9000, 'A-', 'B.'), LPAD(n.i, 5, '0')), 1, 0, 1, NOW(6)")
	type stock struct {
		Levels []struct{ SKU string }
		More   bool
	}
	read := func(page string) stock { return watch(b, "stock:"+page, func(stock) bool { return true }) }
	first := read(":")
	require.Len(t, first.Levels, 100)
	assert.Equal(t, "A-00099", first.Levels[99].SKU)
	assert.True(t, first.More)
	assert.Equal(t, "A-00100", read(":A-00099").Levels[0].SKU)
	assert.Equal(t, "B.09000", read("B:").Levels[0].SKU)
	last := read("B.0999:B.09995")
	assert.Len(t, last.Levels, 4)
	assert.False(t, last.More)
	assert.Empty(t, read("C:").Levels)
}
