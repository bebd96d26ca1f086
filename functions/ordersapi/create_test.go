package ordersapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
)

func TestCreateAnswersWithTheOrderAndItsPlace(t *testing.T) {
	f := start(t)
	w := send(t.Context(), f, http.MethodPost, "/api/orders", body, "X-Correlation-ID", "flow-1",
		"Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Tracestate", "a=b")

	order := accepted(t, w)
	assert.True(t, events.ValidOrderID(order.OrderID))
	assert.JSONEq(t, fmt.Sprintf(`{"orderId":%q,"status":"PENDING"}`, order.OrderID), w.Body.String())
	assert.Empty(t, w.Header().Get("Idempotency-Replayed"))
	assert.Equal(t, "flow-1", w.Header().Get("X-Correlation-ID"))
	emitted := outboxtest.Drain(t, f.DB)
	require.Len(t, emitted, 1)
	fact, err := events.Decode[events.OrderCreated](emitted[0])
	require.NoError(t, err)
	assert.Equal(t, order.OrderID, fact.OrderID)
	assert.Equal(t, "flow-1", emitted[0].Extensions()["correlationid"])
	assert.Equal(t, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", emitted[0].Extensions()["traceparent"])
	assert.Equal(t, "a=b", emitted[0].Extensions()["tracestate"])
	assert.NotContains(t, emitted[0].Extensions(), "causationid")
}

func TestTheOrderOfARequestNamesItsChannel(t *testing.T) {
	f := functiontest.Start(t, New(), map[string]string{"ORDER_CREATED_VERSION": "2", "CURRENCY": "CHF"})
	accepted(t, send(t.Context(), f, http.MethodPost, "/api/orders", body))
	emitted := outboxtest.Drain(t, f.DB)
	require.Len(t, emitted, 1)
	fact, err := events.Decode[events.OrderCreated](emitted[0])
	require.NoError(t, err)
	assert.Equal(t, events.ChannelHTTP, fact.Channel)
	assert.Equal(t, "CHF", fact.Currency)
}

func TestCreateReplacesABadCorrelationIDInItsFactToo(t *testing.T) {
	f := start(t)
	w := send(t.Context(), f, http.MethodPost, "/api/orders", body, "X-Correlation-ID", strings.Repeat("c", 129), "Traceparent", "none")
	accepted(t, w)
	emitted := outboxtest.Drain(t, f.DB)
	require.Len(t, emitted, 1)
	assert.Equal(t, w.Header().Get("X-Correlation-ID"), emitted[0].Extensions()["correlationid"])
	assert.NotContains(t, emitted[0].Extensions(), "traceparent")
}

func TestCreateWithoutAKeyMakesAnOrderEachTime(t *testing.T) {
	f := start(t)
	first := place(t, f)
	assert.NotEqual(t, first, place(t, f))
	assert.Equal(t, 2, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders"))
}

func item(sku string, quantity, unitPrice any) map[string]any {
	return map[string]any{"sku": sku, "quantity": quantity, "unitPrice": unitPrice}
}

func orderOf(t *testing.T, email any, items ...map[string]any) string {
	t.Helper()
	text, err := json.Marshal(map[string]any{"customerEmail": email, "items": items})
	require.NoError(t, err)
	return string(text)
}

func lines(n int) []map[string]any {
	items := make([]map[string]any, n)
	for i := range items {
		items[i] = item("SKU-"+strconv.Itoa(i), 1, 1)
	}
	return items
}

const email = "alice@example.com"

// address returns an e-mail address of n characters, with the longest local part and long domain labels.
func address(n int) string {
	const end = "example.com"
	domain := strings.Repeat(strings.Repeat("d", 29)+".", (n-64-1-len(end))/30)
	domain = strings.Repeat("e", n-64-1-len(end)-len(domain)) + domain + end
	return strings.Repeat("a", 64) + "@" + domain
}

func TestCreateAcceptsValuesAtTheBounds(t *testing.T) {
	f := start(t)
	for name, c := range map[string]struct {
		body  string
		total int64
	}{
		"the least":               {orderOf(t, "a@b.io", item("A", 1, 0)), 0},
		"the most of one line":    {orderOf(t, email, item("A", 9007, 1_000_000_000_000)), 9_007_000_000_000_000},
		"the highest quantity":    {orderOf(t, email, item("A", 1_000_000, 1)), 1_000_000},
		"the highest total":       {orderOf(t, email, item("A", 9007, 1_000_000_000_000), item("B", 1, 199_254_740_991)), 1<<53 - 1},
		"the longest SKU":         {orderOf(t, email, item(strings.Repeat("s", 64), 1, 1)), 1},
		"every kind in a SKU":     {orderOf(t, email, item("AZaz09._-", 1, 1)), 1},
		"the most lines":          {orderOf(t, email, lines(100)...), 100},
		"the longest address":     {orderOf(t, address(254), item("A", 1, 1)), 1},
		"an international one":    {orderOf(t, "user@xn--fsqu00a.xn--rhqv96g", item("A", 1, 1)), 1},
		"a SKU of three dots":     {orderOf(t, email, item("...", 1, 1)), 1},
		"one SKU on two lines":    {orderOf(t, email, item("A", 1, 5), item("B", 1, 1), item("A", 2, 7)), 20},
		"any order, white space":  {" \n{\"items\" : [{\"unitPrice\":1,\t\"quantity\":1,\"sku\":\"A\"}],\"customerEmail\":\"a@b.io\"}\r\n", 1},
		"names written otherwise": {`{"customer\u0045mail":"a@b.io","items":[{"sku":"\u0041","quantity":1,"unitPrice":1}]}`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			id := accepted(t, send(t.Context(), f, http.MethodPost, "/api/orders", c.body)).OrderID
			assert.Equal(t, c.total, get(t, f, id).TotalAmount)
		})
	}
}

func TestCreateNamesEveryBadField(t *testing.T) {
	f := start(t)
	for name, c := range map[string]struct {
		body   string
		fields []string
	}{
		"everything at once": {
			`{"customerEmail":"alice","items":[{"sku":"a b","quantity":0,"unitPrice":-1},{"sku":7,"quantity":"2","unitPrice":12.99,"colour":"red"},{}],"coupon":"X"}`,
			[]string{
				"customerEmail", "items[0].sku", "items[0].quantity", "items[0].unitPrice",
				"items[1].sku", "items[1].quantity", "items[1].unitPrice", "items[1].colour",
				"items[2].sku", "items[2].quantity", "items[2].unitPrice", "coupon",
			},
		},
		"nothing":                     {`{}`, []string{"customerEmail", "items"}},
		"nulls":                       {`{"customerEmail":null,"items":null}`, []string{"customerEmail", "items"}},
		"an empty body":               {` `, []string{""}},
		"broken JSON":                 {`{"customerEmail":"a@b.io",`, []string{""}},
		"two documents":               {body + body, []string{""}},
		"a list":                      {`[` + body + `]`, []string{""}},
		"null":                        {`null`, []string{""}},
		"not UTF-8":                   {"{\"customerEmail\":\"a\xff@b\"}", []string{""}},
		"nested without end":          {strings.Repeat(`{"a":`, 10_000) + `1` + strings.Repeat(`}`, 10_000), []string{""}},
		"values without end":          {`{"items":[` + strings.Repeat("1,", 100_000) + `1]}`, []string{""}},
		"an unknown field":            {strings.Replace(body, `{`, `{"status":"CONFIRMED",`, 1), []string{"status"}},
		"a field in other case":       {strings.Replace(body, "customerEmail", "CustomerEmail", 1), []string{"customerEmail", "CustomerEmail"}},
		"a field given twice":         {strings.Replace(body, `{`, `{"customerEmail":"bob@example.com",`, 1), []string{"customerEmail"}},
		"a line's field given twice":  {strings.Replace(body, `"quantity":2`, `"quantity":2,"quantity":3`, 1), []string{"items[0].quantity"}},
		"items that are no list":      {`{"customerEmail":"a@b.io","items":{"sku":"A"}}`, []string{"items"}},
		"a line that is no object":    {`{"customerEmail":"a@b.io","items":["A"]}`, []string{"items[0]"}},
		"a price with decimals":       {orderOf(t, email, item("A", 1, 12.99)), []string{"items[0].unitPrice"}},
		"a price as a text":           {orderOf(t, email, item("A", 1, "1299")), []string{"items[0].unitPrice"}},
		"a price with an exponent":    {`{"customerEmail":"a@b.io","items":[{"sku":"A","quantity":1,"unitPrice":1e-3}]}`, []string{"items[0].unitPrice"}},
		"a negative price":            {orderOf(t, email, item("A", 1, -1)), []string{"items[0].unitPrice"}},
		"a price too high":            {orderOf(t, email, item("A", 1, 1_000_000_000_001)), []string{"items[0].unitPrice"}},
		"a price beyond int64":        {`{"customerEmail":"a@b.io","items":[{"sku":"A","quantity":1,"unitPrice":9223372036854775808}]}`, []string{"items[0].unitPrice"}},
		"a quantity of none":          {orderOf(t, email, item("A", 0, 1)), []string{"items[0].quantity"}},
		"a negative quantity":         {orderOf(t, email, item("A", -1, 1)), []string{"items[0].quantity"}},
		"a quantity too high":         {orderOf(t, email, item("A", 1_000_001, 1)), []string{"items[0].quantity"}},
		"half a unit":                 {orderOf(t, email, item("A", 0.5, 1)), []string{"items[0].quantity"}},
		"a quantity as a text":        {orderOf(t, email, item("A", "2", 1)), []string{"items[0].quantity"}},
		"a quantity of true":          {orderOf(t, email, item("A", true, 1)), []string{"items[0].quantity"}},
		"a total too high":            {orderOf(t, email, item("A", 9007, 1_000_000_000_000), item("B", 1, 199_254_740_992)), []string{"items"}},
		"a total beyond uint64":       {orderOf(t, email, item("A", 1_000_000, 1_000_000_000_000), item("B", 1_000_000, 1_000_000_000_000)), []string{"items"}},
		"no lines":                    {`{"customerEmail":"a@b.io","items":[]}`, []string{"items"}},
		"too many lines":              {orderOf(t, email, lines(101)...), []string{"items"}},
		"an empty SKU":                {orderOf(t, email, item("", 1, 1)), []string{"items[0].sku"}},
		"a SKU too long":              {orderOf(t, email, item(strings.Repeat("s", 65), 1, 1)), []string{"items[0].sku"}},
		"a SKU with a slash":          {orderOf(t, email, item("a/b", 1, 1)), []string{"items[0].sku"}},
		"a SKU that is not ASCII":     {orderOf(t, email, item("ä", 1, 1)), []string{"items[0].sku"}},
		"a SKU that is a path":        {orderOf(t, email, item(".", 1, 1), item("..", 1, 1)), []string{"items[0].sku", "items[1].sku"}},
		"no address":                  {orderOf(t, "", item("A", 1, 1)), []string{"customerEmail"}},
		"an address without domain":   {orderOf(t, "alice", item("A", 1, 1)), []string{"customerEmail"}},
		"an address in other letters": {orderOf(t, "user@例子.世界", item("A", 1, 1)), []string{"customerEmail"}},
		"an address with a name":      {orderOf(t, "Alice <alice@example.com>", item("A", 1, 1)), []string{"customerEmail"}},
		"two addresses":               {orderOf(t, "a@b.io, c@d.io", item("A", 1, 1)), []string{"customerEmail"}},
		"an address that adds a line": {
			orderOf(t, "alice@example.com\r\nBcc: eve@example.com", item("A", 1, 1)), []string{"customerEmail"},
		},
		"an address too long":   {orderOf(t, address(255), item("A", 1, 1)), []string{"customerEmail"}},
		"an address of numbers": {orderOf(t, 7, item("A", 1, 1)), []string{"customerEmail"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := refused(t, http.StatusBadRequest, send(t.Context(), f, http.MethodPost, "/api/orders", c.body, "Idempotency-Key", "k"))
			var fields []string
			for _, e := range p.Errors {
				fields = append(fields, e.Field)
				assert.NotEmpty(t, e.Detail)
			}
			assert.ElementsMatch(t, c.fields, fields)
		})
	}
	assert.Zero(t, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders"))
	assert.Empty(t, outboxtest.Drain(t, f.DB))
}

func TestCreateBoundsTheBodyAndItsMediaType(t *testing.T) {
	f := start(t)
	padded := body + strings.Repeat(" ", 1<<20-len(body))
	accepted(t, send(t.Context(), f, http.MethodPost, "/api/orders", padded))
	refused(t, http.StatusRequestEntityTooLarge, send(t.Context(), f, http.MethodPost, "/api/orders", padded+" "))

	for _, media := range []string{"", "text/plain", "application/xml", "application/json; charset=latin1", "application/cloudevents+json"} {
		r := send(t.Context(), f, http.MethodPost, "/api/orders", "", "Content-Type", media)
		refused(t, http.StatusUnsupportedMediaType, r)
	}
	assert.Equal(t, 1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders"))
}

// Any body either creates an order or is refused as the sender's mistake.
func FuzzCreate(f *testing.F) {
	function := start(f)
	for _, text := range []string{body, otherBody, `{}`, `[]`, `null`, `{"customerEmail":"\ud83d\ude00@b","items":[{"sku":"\u0041","quantity":1e3,"unitPrice":-0}]}`} {
		f.Add("", text)
	}
	f.Add(`"a\"b"`, body)
	f.Fuzz(func(t *testing.T, key, text string) {
		headers := []string{"Content-Type", "application/json"}
		if key != "" {
			headers = append(headers, "Idempotency-Key", key, "X-Correlation-ID", key, "Traceparent", key)
		}
		w := send(t.Context(), function, http.MethodPost, "/api/orders", text, headers...)
		assert.Less(t, w.Code, 500, w.Body.String())
		assert.True(t, w.Code == http.StatusCreated || w.Code >= 400, w.Body.String())
	})
}
