package events_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
)

func TestParseCreateOrderReadsTheGoldenBody(t *testing.T) {
	got, err := events.ParseCreateOrder(golden(t, events.OrderCreateType))
	require.NoError(t, err)
	assert.Equal(t, events.CreateOrder{
		CustomerEmail: "alice@example.com",
		Items:         []events.Item{{SKU: "SKU-123", Quantity: 2, UnitPrice: 1299}},
	}, got)
}

func TestParseCreateOrderNamesEveryBadField(t *testing.T) {
	body := func(items string) string { return `{"customerEmail":"a@b.com","items":` + items + `}` }
	line := `{"sku":"A","quantity":1,"unitPrice":0}`
	tests := map[string]struct {
		body   string
		fields []string
		goOnly bool // not JSON, or a rule that a JSON Schema cannot express
	}{
		"empty":                 {"", []string{""}, true},
		"an array":              {"[" + body("["+line+"]") + "]", []string{""}, false},
		"two documents":         {body("["+line+"]") + "{}", []string{""}, true},
		"not UTF-8":             {"{\"customerEmail\":\"\xff\"}", []string{""}, true},
		"nothing given":         {`{}`, []string{"customerEmail", "items"}, false},
		"nulls":                 {`{"customerEmail":null,"items":null}`, []string{"customerEmail", "items"}, false},
		"no lines":              {body(`[]`), []string{"items"}, false},
		"101 lines":             {body("[" + strings.Repeat(line+",", 100) + line + "]"), []string{"items"}, false},
		"missing unit price":    {body(`[{"sku":"A","quantity":1}]`), []string{"items[0].unitPrice"}, false},
		"names in another case": {`{"customeremail":"a@b.com","Items":[` + line + `]}`, []string{"customerEmail", "items", "customeremail", "Items"}, false},
		"a field of an event":   {`{"eventType":"order.create","customerEmail":"a@b.com","items":[` + line + `]}`, []string{"eventType"}, false},
		"a total too large": {
			`{"customerEmail":"?","items":[{"sku":"A","quantity":1000000,"unitPrice":1000000000000}]}`,
			[]string{"customerEmail", "items"}, true,
		},
		"one bad field per line": {
			body(`[{"sku":"","quantity":1,"unitPrice":0},{"sku":"A","quantity":12.5,"unitPrice":0},{"sku":"A","quantity":1,"unitPrice":"1"}]`),
			[]string{"items[0].sku", "items[1].quantity", "items[2].unitPrice"}, false,
		},
	}
	schema := schemaOf(t, events.OrderCreateType)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := events.ParseCreateOrder([]byte(test.body))
			assert.ElementsMatch(t, test.fields, fieldsOf(t, err))
			if !test.goOnly {
				assert.Error(t, checkSchema(t, schema, []byte(test.body)))
			}
		})
	}
}

func TestFingerprintIsThatOfTheDecodedContent(t *testing.T) {
	printOf := func(body string) [32]byte {
		c, err := events.ParseCreateOrder([]byte(body))
		require.NoError(t, err)
		return c.Fingerprint()
	}
	first := printOf(`{"customerEmail":"a@b.com","items":[{"sku":"A","quantity":1,"unitPrice":2},{"sku":"B","quantity":1,"unitPrice":2}]}`)
	assert.Equal(t, first, printOf(` {"items":[{"unitPrice":2,"quantity":1,"sku":"\u0041"},
		{"sku":"B","quantity":1,"unitPrice":2}], "customerEmail":"a@b.com"}`))
	others := map[string]string{
		"another email":    `{"customerEmail":"a@b.org","items":[{"sku":"A","quantity":1,"unitPrice":2},{"sku":"B","quantity":1,"unitPrice":2}]}`,
		"another order":    `{"customerEmail":"a@b.com","items":[{"sku":"B","quantity":1,"unitPrice":2},{"sku":"A","quantity":1,"unitPrice":2}]}`,
		"another quantity": `{"customerEmail":"a@b.com","items":[{"sku":"A","quantity":2,"unitPrice":2},{"sku":"B","quantity":1,"unitPrice":2}]}`,
		"swapped numbers":  `{"customerEmail":"a@b.com","items":[{"sku":"A","quantity":2,"unitPrice":1},{"sku":"B","quantity":1,"unitPrice":2}]}`,
		"one line less":    `{"customerEmail":"a@b.com","items":[{"sku":"A","quantity":1,"unitPrice":2}]}`,
	}
	for name, body := range others {
		assert.NotEqual(t, first, printOf(body), name)
	}
}

func TestParseCancelOrderRefusesAllButAnOrderID(t *testing.T) {
	got, err := events.ParseCancelOrder(fmt.Appendf(nil, `{"orderId":%q}`, orderID))
	require.NoError(t, err)
	assert.Equal(t, events.CancelOrder{OrderID: orderID}, got)
	for body, fields := range map[string][]string{
		`{}`:                            {"orderId"},
		`{"orderId":"7"}`:               {"orderId"},
		`{"orderId":7,"reason":"cold"}`: {"orderId", "reason"},
		`"` + orderID + `"`:             {""},
	} {
		_, err := events.ParseCancelOrder([]byte(body))
		assert.ElementsMatch(t, fields, fieldsOf(t, err), body)
	}
}

func TestParseUnpricedOrderKnowsWhichPricesWereLeftOut(t *testing.T) {
	read := func(items string) (events.CreateOrder, error) {
		return events.ParseUnpricedOrder([]byte(`{"customerEmail":"alice@example.com","items":[` + items + `]}`))
	}
	order, err := read(`{"sku":"A","quantity":1},{"sku":"B","quantity":2,"unitPrice":0},{"sku":"C","quantity":3,"unitPrice":7}`)
	require.NoError(t, err)
	assert.Equal(t, []events.Item{{SKU: "A", Quantity: 1, UnitPrice: events.NoPrice}, {SKU: "B", Quantity: 2}, {SKU: "C", Quantity: 3, UnitPrice: 7}}, order.Items)
	free, err := read(`{"sku":"A","quantity":1,"unitPrice":0},{"sku":"B","quantity":2,"unitPrice":0},{"sku":"C","quantity":3,"unitPrice":7}`)
	require.NoError(t, err)
	assert.NotEqual(t, free.Fingerprint(), order.Fingerprint())

	for _, item := range []string{`{"sku":"A","quantity":1,"unitPrice":-1}`, `{"sku":"A","quantity":1,"unitPrice":null}`, `{"sku":"A","quantity":1,"unitPrice":"1"}`, `{"sku":"A","quantity":1,"price":1}`, `{"sku":"A"}`, `7`} {
		_, err := read(item)
		assert.Error(t, err, item)
	}
	_, err = events.ParseCreateOrder([]byte(`{"customerEmail":"alice@example.com","items":[{"sku":"A","quantity":1}]}`))
	assert.Error(t, err)
}
