package console_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
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
	Whole      bool
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
		what, term   string
		whole, parts []string
	}{
		"an address":                 {"orders", "bob@example.com", []string{bob}, []string{bob}},
		"an address in upper case":   {"orders", "BOB@example.COM", []string{bob}, []string{bob}},
		"a part, newest first":       {"orders", "ALICE", nil, []string{other, alice}},
		"a part with a wildcard":     {"orders", "alice_", nil, []string{alice}},
		"another wildcard":           {"orders", "a%e", nil, nil},
		"an address with a wildcard": {"orders", "bo%@example.com", nil, nil},
		"a correlation id":           {"orders", "flow-1", []string{other, alice}, nil},
		"no part of a flow":          {"orders", "flow", nil, nil},
		"an order id":                {"orders", bob, nil, []string{bob}},
		"what a list shows of it":    {"orders", strings.ToUpper(bob[24:]), nil, []string{bob}},
		"a letter that is no ASCII":  {"orders", "日", nil, nil},
		"a SKU":                      {"lines", "SKU-7", []string{other, alice}, nil},
		"no part of a SKU":           {"lines", "SKU", nil, nil},
		"no SKU":                     {"lines", "a b", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			whole := b.search(c.what, c.term, "")
			assert.Equal(t, c.whole, whole.ids())
			if c.what == "lines" {
				assert.Empty(t, whole.Next, "all was looked through")
				return
			}
			assert.True(t, whole.Whole, "all that has the whole term is found")
			parts := b.search(c.what, c.term, whole.Next)
			assert.Equal(t, c.parts, parts.ids())
			assert.Empty(t, parts.Next, "all was looked through")
		})
	}
	for _, path := range []string{"", "/orders", "/lines"} {
		for _, query := range []string{"", "q=+", "q=" + fmt.Sprintf("%0255d", 0)} {
			status, _ := b.do(http.MethodGet, "/console/search"+path+"?"+query, "", nil)
			assert.Equal(t, http.StatusBadRequest, status, query)
		}
	}
	for _, path := range []string{"orders?q=a&before=1", "orders?q=a&before=whole:1", "lines?q=a&before=x", "lines?q=a&before=-1"} {
		status, _ := b.do(http.MethodGet, "/console/search/"+path, "", nil)
		assert.Equal(t, http.StatusBadRequest, status, path)
	}
}

// TestASearchComesToTheOldestOrder searches among more orders than one statement reads, and more than one answer has.
func TestASearchComesToTheOldestOrder(t *testing.T) {
	b := newBench(t)
	oldest := b.add("needle@example.com", "flow", "NEEDLE")
	db := b.pool(schema.Orders)
	const later = "CONCAT('ff000000-0000-7000-8000-', LPAD(n.i, 12, '0'))"
	fill(t, db, "orders", "id, customer_email, status, total_amount, currency, version, request_hash, correlation_id, created_at, updated_at",
		later+", 'alice@example.com', 'CONFIRMED', 1, 'EUR', 2, REPEAT('x', 32), 'flow-2', NOW(6), NOW(6)")
	fill(t, db, "order_items", "order_id, sku, unit_price, quantity", later+", 'HAY', 1, 1")
	for name, c := range map[string]struct{ what, term string }{
		"by a part":     {"orders", "needle"},
		"by an address": {"orders", "needle@example.com"},
		"by a SKU":      {"lines", "NEEDLE"},
	} {
		t.Run(name, func(t *testing.T) {
			found := map[string]bool{}
			for next, begun := "", false; !begun || next != ""; begun = true {
				answer := b.search(c.what, c.term, next)
				for _, id := range answer.ids() {
					found[id] = true
				}
				next = answer.Next
			}
			assert.Equal(t, map[string]bool{oldest: true}, found)
		})
	}
	for name, c := range map[string]struct{ what, term, before string }{
		"a part of an address": {"orders", "alice", "ffffffff-ffff-ffff-ffff-ffffffffffff"},
		"an address":           {"orders", "alice@example.com", ""},
		"a flow":               {"orders", "flow-2", ""},
		"a SKU":                {"lines", "HAY", ""},
	} {
		t.Run("two pages of "+name, func(t *testing.T) {
			first := b.search(c.what, c.term, c.before)
			require.Len(t, first.Orders, 50)
			assert.Equal(t, "ff000000-0000-7000-8000-000000009999", first.Orders[0].OrderID)
			assert.False(t, first.Whole, "there are more with the whole term")
			second := b.search(c.what, c.term, first.Next)
			require.Len(t, second.Orders, 50)
			assert.Equal(t, "ff000000-0000-7000-8000-000000009949", second.Orders[0].OrderID)
		})
	}
	assert.NotEmpty(t, b.search("orders", "alice", "ffffffff-ffff-ffff-ffff-ffffffffffff").Back)
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
