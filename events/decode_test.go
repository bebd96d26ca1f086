package events_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/events/strictjson"
)

// fieldsOf returns the names of the violations in err.
func fieldsOf(t testing.TB, err error) []string {
	t.Helper()
	var violations strictjson.Violations
	require.ErrorAs(t, err, &violations)
	var fields []string
	for _, v := range violations {
		fields = append(fields, v.Field)
	}
	return fields
}

// Each field of each golden document, including the lists' entries, is spoiled in every way that a field can be.
func TestDecoderAndSchemaRefuseEverySpoiledField(t *testing.T) {
	spoil := map[string]func(object map[string]any, name string){
		"missing":        func(o map[string]any, name string) { delete(o, name) },
		"null":           func(o map[string]any, name string) { o[name] = nil },
		"an object":      func(o map[string]any, name string) { o[name] = map[string]any{} },
		"a truth value":  func(o map[string]any, name string) { o[name] = true },
		"the wrong case": func(o map[string]any, name string) { o[strings.ToUpper(name)] = o[name]; delete(o, name) },
		"one beside it":  func(o map[string]any, name string) { o[name+"2"] = o[name] },
	}
	for name := range samples {
		schema, optional := schemaOf(t, name), optionalIn(t, name)
		for how, change := range spoil {
			for _, path := range pathsOf(t, golden(t, name)) {
				if optional[path] && how == "missing" {
					continue
				}
				t.Run(name+"/"+path+"/"+how, func(t *testing.T) {
					var document map[string]any
					require.NoError(t, json.Unmarshal(golden(t, name), &document))
					object, field := locate(document, path)
					change(object, field)
					data, err := json.Marshal(document)
					require.NoError(t, err)
					_, err = readers[name](factOf(t, name, data))
					assert.NotEmpty(t, fieldsOf(t, err))
					assert.Error(t, checkSchema(t, schema, data))
				})
			}
		}
	}
}

// pathsOf lists the fields of a document, those of list entries as "list.field".
func pathsOf(t *testing.T, data []byte) []string {
	t.Helper()
	var document map[string]any
	require.NoError(t, json.Unmarshal(data, &document))
	paths := slices.Collect(maps.Keys(document))
	for name, v := range document {
		if list, ok := v.([]any); ok {
			for field := range list[0].(map[string]any) {
				paths = append(paths, name+"."+field)
			}
		}
	}
	return paths
}

func locate(document map[string]any, path string) (map[string]any, string) {
	list, field, nested := strings.Cut(path, ".")
	if !nested {
		return document, path
	}
	return document[list].([]any)[0].(map[string]any), field
}

func TestDecoderRefusesValuesOutOfBounds(t *testing.T) {
	entries := func(n int, entry string) string {
		return "[" + strings.TrimSuffix(strings.Repeat(entry+",", n), ",") + "]"
	}
	created, reserved, rejected := events.OrderCreatedType, events.InventoryReservedType, events.InventoryRejectedType
	item, quantity := `{"sku":"SKU-123","quantity":2,"unitPrice":1299}`, `{"sku":"SKU-123","quantity":2}`
	tests := map[string]struct {
		typ, old, new string
		field         string
		sum           bool // then the total is not the sum either
		goOnly        bool // a JSON Schema cannot express it
	}{
		"order id in upper case":        {typ: created, old: orderID, new: strings.ToUpper(orderID), field: "orderId"},
		"order id in braces":            {typ: created, old: orderID, new: "{" + orderID + "}", field: "orderId"},
		"another type inside":           {typ: created, old: `"order.created"`, new: `"order.failed"`, field: "eventType"},
		"version zero":                  {typ: created, old: `"version":2`, new: `"version":0`, field: "version"},
		"version in quotes":             {typ: created, old: `"version":2`, new: `"version":"2"`, field: "version"},
		"version with a fraction":       {typ: created, old: `"version":2`, new: `"version":1.5`, field: "version"},
		"no currency":                   {typ: created, old: `"EUR"`, new: `""`, field: "currency"},
		"an order in lower-case money":  {typ: created, old: `EUR`, new: `eur`, field: "currency"},
		"an unknown channel":            {typ: created, old: `"http"`, new: `"fax"`, field: "channel"},
		"no channel":                    {typ: created, old: `"http"`, new: `""`, field: "channel"},
		"version 1 with version zero":   {typ: orderCreatedV1, old: `"version":1`, new: `"version":0`, field: "version"},
		"version 1 with an empty sku":   {typ: orderCreatedV1, old: `"SKU-123"`, new: `""`, field: "items[0].sku"},
		"version 1 without items":       {typ: orderCreatedV1, old: "[" + item + "]", new: "[]", field: "items"},
		"version 1 with a wrong sum":    {typ: orderCreatedV1, old: `2598`, new: `2599`, field: "totalAmount", goOnly: true},
		"version 1 with an email lost":  {typ: orderCreatedV1, old: `alice@example.com`, new: ``, field: "customerEmail"},
		"version 1 with a bad order id": {typ: orderCreatedV1, old: orderID, new: strings.ToUpper(orderID), field: "orderId"},
		"version 1 before 1970":         {typ: orderCreatedV1, old: `2025`, new: `0001`, field: "createdAt", goOnly: true},
		"version 1 with a currency":     {typ: orderCreatedV1, old: `"version":1`, new: `"version":1,"currency":"EUR"`, field: "currency"},
		"email without a domain":        {typ: created, old: "alice@example.com", new: "alice", field: "customerEmail"},
		"email with a display name":     {typ: created, old: "alice@example.com", new: "Alice <alice@example.com>", field: "customerEmail"},
		"email with a line break":       {typ: created, old: "alice@example.com", new: `alice@example.com\r\nBcc: b@example.com`, field: "customerEmail"},
		"email too long":                {typ: created, old: "alice", new: strings.Repeat("a", 243), field: "customerEmail"},
		"no items":                      {typ: created, old: "[" + item + "]", new: "[]", field: "items"},
		"101 items":                     {typ: created, old: "[" + item + "]", new: entries(101, item), field: "items"},
		"an item that is a number":      {typ: created, old: item, new: "5", field: "items[0]"},
		"empty sku":                     {typ: created, old: `"SKU-123"`, new: `""`, field: "items[0].sku"},
		"sku with a space":              {typ: created, old: `"SKU-123"`, new: `"SKU 123"`, field: "items[0].sku"},
		"sku of 65":                     {typ: created, old: `SKU-123`, new: strings.Repeat("s", 65), field: "items[0].sku"},
		"quantity zero":                 {typ: created, old: `"quantity":2`, new: `"quantity":0`, field: "items[0].quantity"},
		"quantity over a million":       {typ: created, old: `"quantity":2`, new: `"quantity":1000001`, field: "items[0].quantity"},
		"quantity beyond int64":         {typ: created, old: `"quantity":2`, new: `"quantity":9223372036854775808`, field: "items[0].quantity"},
		"price below zero":              {typ: created, old: `1299`, new: `-1`, field: "items[0].unitPrice"},
		"price above the bound":         {typ: created, old: `1299`, new: `1000000000001`, field: "items[0].unitPrice"},
		"price with a fraction":         {typ: created, old: `1299`, new: `12.99`, field: "items[0].unitPrice", sum: true},
		"price in quotes":               {typ: created, old: `1299`, new: `"1299"`, field: "items[0].unitPrice", sum: true},
		"price with an exponent":        {typ: created, old: `1299`, new: `1e-3`, field: "items[0].unitPrice", sum: true},
		"a total that is not the sum":   {typ: created, old: `2598`, new: `2599`, field: "totalAmount", goOnly: true},
		"a field given twice":           {typ: created, old: `"version":2`, new: `"version":2,"version":2`, field: "version", goOnly: true},
		"a time without a zone":         {typ: created, old: `01Z`, new: `01`, field: "createdAt"},
		"a time that is a date":         {typ: created, old: `T10:23:01Z`, new: ``, field: "createdAt"},
		"a time with a comma":           {typ: created, old: `01Z`, new: `01,5Z`, field: "createdAt"},
		"a time with a one-digit hour":  {typ: created, old: `T10`, new: `T1`, field: "createdAt"},
		"an offset of a day":            {typ: created, old: `01Z`, new: `01+24:00`, field: "createdAt"},
		"a time before 1970":            {typ: created, old: `2025`, new: `0001`, field: "createdAt", goOnly: true},
		"a total above the bound":       {typ: events.OrderConfirmedType, old: `2598`, new: `9007199254740992`, field: "totalAmount"},
		"a reason of many words":        {typ: events.OrderFailedType, old: `out_of_stock`, new: `out of stock`, field: "reason"},
		"a reason of 65":                {typ: events.OrderFailedType, old: `out_of_stock`, new: strings.Repeat("r", 65), field: "reason"},
		"an amount below zero":          {typ: events.PaymentDeclinedType, old: `2598`, new: `-1`, field: "amount"},
		"an amount above the bound":     {typ: events.PaymentRefundedType, old: `2598`, new: `9007199254740992`, field: "amount"},
		"an amount that is not the sum": {typ: events.PaymentAuthorizedType, old: `"amount":2598`, new: `"amount":2599`, field: "amount", goOnly: true},
		"a currency in lower case":      {typ: events.PaymentAuthorizedType, old: `EUR`, new: `eur`, field: "currency"},
		"a currency of four letters":    {typ: events.PaymentDeclinedType, old: `EUR`, new: `EURO`, field: "currency"},
		"an empty reference":            {typ: events.PaymentAuthorizedType, old: `auth-4711`, new: ``, field: "reference"},
		"a reference with a space":      {typ: events.PaymentRefundedType, old: `refund-4711`, new: `refund 4711`, field: "reference"},
		"a reference of 129":            {typ: events.PaymentRefundedType, old: `refund-4711`, new: strings.Repeat("r", 129), field: "reference"},
		"canceled after it had failed":  {typ: events.OrderCanceledType, old: `CONFIRMED`, new: `FAILED`, field: "previousStatus"},
		"no reservations":               {typ: reserved, old: "[" + quantity + "]", new: "[]", field: "reservations"},
		"a reservation of none":         {typ: reserved, old: `"quantity":2`, new: `"quantity":0`, field: "reservations[0].quantity"},
		"a reservation above all lines": {typ: reserved, old: `"quantity":2`, new: `"quantity":100000001`, field: "reservations[0].quantity"},
		"a sku reserved twice":          {typ: reserved, old: quantity, new: quantity + "," + quantity, field: "reservations[1].sku", goOnly: true},
		"a sku released twice":          {typ: events.InventoryReleasedType, old: quantity, new: quantity + "," + quantity, field: "releases[1].sku", goOnly: true},
		"a rejection of nothing":        {typ: rejected, old: `"requested":2`, new: `"requested":0`, field: "shortages[0].requested"},
		"less than none available":      {typ: rejected, old: `"available":0`, new: `"available":-1`, field: "shortages[1].available"},
		"a sku short twice":             {typ: rejected, old: `SKU-999`, new: `SKU-123`, field: "shortages[1].sku", goOnly: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			data := strings.Replace(string(golden(t, test.typ)), test.old, test.new, 1)
			require.NotEqual(t, string(golden(t, test.typ)), data)
			_, err := readers[test.typ](factOf(t, test.typ, []byte(data)))
			want := []string{test.field}
			if test.sum {
				want = append(want, "totalAmount")
			}
			assert.Equal(t, want, fieldsOf(t, err))
			if !test.goOnly {
				assert.Error(t, checkSchema(t, schemaOf(t, test.typ), []byte(data)))
			}
		})
	}
}

func TestDecodeAcceptsValuesAtTheBounds(t *testing.T) {
	tests := map[string]struct{ typ, old, new string }{
		"a price of zero":           {events.OrderCreatedType, `1299}],"totalAmount":2598`, `0}],"totalAmount":0`},
		"a command by CloudEvent":   {events.OrderCreatedType, `"http"`, `"cloudevent"`},
		"a fact without shortages":  {events.OrderFailedType, `"shortages":[{"sku":"SKU-123","requested":2,"available":1}],`, ``},
		"an empty optional list":    {events.OrderFailedType, `{"sku":"SKU-123","requested":2,"available":1}`, ``},
		"an email of 254":           {events.OrderCreatedType, `alice`, strings.Repeat("a", 242)},
		"units of all lines summed": {events.InventoryReservedType, `"quantity":2`, `"quantity":100000000`},
		"an escaped letter":         {events.OrderCreatedType, `alice`, `\u0061lice`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			data := strings.Replace(string(golden(t, test.typ)), test.old, test.new, 1)
			require.NotEqual(t, string(golden(t, test.typ)), data)
			_, err := readers[test.typ](factOf(t, test.typ, []byte(data)))
			assert.NoError(t, err)
			assert.NoError(t, checkSchema(t, schemaOf(t, test.typ), []byte(data)))
		})
	}
}

func TestDecodeNamesEveryViolationAtOnce(t *testing.T) {
	_, err := events.Decode[events.OrderCreated](factOf(t, events.OrderCreatedType, []byte(
		`{"eventType":"order.created","version":2,"orderId":"1","customerEmail":null,"total":3,
		"items":[{"sku":"","quantity":0},7],"totalAmount":-1,"currency":"euro","createdAt":"now"}`)))
	assert.ElementsMatch(t, []string{
		"orderId", "customerEmail", "items[0].sku", "items[0].quantity", "items[0].unitPrice", "items[1]",
		"totalAmount", "currency", "channel", "createdAt", "total",
	}, fieldsOf(t, err))
}

func TestDecodeReadsTimesAsUTCMicroseconds(t *testing.T) {
	data := strings.Replace(string(golden(t, events.OrderCanceledType)), "10:24:01Z", "19:24:01.123456789+09:00", 1)
	got, err := events.Decode[events.OrderCanceled](factOf(t, events.OrderCanceledType, []byte(data)))
	require.NoError(t, err)
	assert.Equal(t, "2025-08-12T10:24:01.123456Z", got.CreatedAt.Format("2006-01-02T15:04:05.999999999Z07:00"))
}

func TestDecodeRefusesAttributesThatDoNotFitTheData(t *testing.T) {
	tests := map[string]func(*event.Event){
		"another type":         func(e *event.Event) { e.SetType(events.OrderFailedType) },
		"another subject":      func(e *event.Event) { e.SetSubject("0" + orderID[1:]) },
		"no subject":           func(e *event.Event) { e.SetSubject("") },
		"another source":       func(e *event.Event) { e.SetSource("/elsewhere") },
		"an id that is long":   func(e *event.Event) { e.SetID(strings.Repeat("é", 129)) },
		"another schema":       func(e *event.Event) { e.SetDataSchema("https://example.com/other.json") },
		"another content type": func(e *event.Event) { e.SetDataContentType("application/xml") },
		"no content type":      func(e *event.Event) { e.SetDataContentType("") },
		"no data":              func(e *event.Event) { e.DataEncoded = nil },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			e := factOf(t, events.OrderCreatedType, nil)
			change(&e)
			_, err := events.Decode[events.OrderCreated](e)
			require.Error(t, err)
			assert.NotErrorIs(t, err, events.ErrUnknownVersion)
		})
	}
}

// setAttribute sets the id, or an extension without the checks of the SDK: headers of records may have any bytes.
func setAttribute(e *event.Event, name, value string) {
	context := e.Context.(*event.EventContextV1)
	if name == "id" {
		context.ID = value
		return
	}
	context.Extensions[name] = value
}

func TestDecodeRefusesTextThatNoCloudEventMayHave(t *testing.T) {
	for how, value := range map[string]string{
		"not UTF-8": "a\xff", "cut off": "\xe2\x82", "half a pair": "\xed\xa0\x80", "NUL": "a\x00b", "a line break": "a\r\nb",
		"delete": "\x7f", "a control character beyond ASCII": "\u0085", "a noncharacter": "\ufffe",
	} {
		for _, name := range []string{"id", "partitionkey", "correlationid", "causationid", "traceparent", "anything"} {
			t.Run(name+"/"+how, func(t *testing.T) {
				e := factOf(t, events.OrderCreatedType, nil)
				setAttribute(&e, name, value)
				_, err := events.Decode[events.OrderCreated](e)
				assert.ErrorContains(t, err, name+" must be UTF-8")
			})
		}
	}
	e := factOf(t, events.OrderCreatedType, nil)
	setAttribute(&e, "one", "\xff")
	setAttribute(&e, "id", "\xff")
	_, err := events.Decode[events.OrderCreated](e)
	assert.ErrorContains(t, err, "id, one must be UTF-8", "all that is wrong is named")
}

func TestDecodeTakesTextThatIsOnlyUnusual(t *testing.T) {
	for how, value := range map[string]string{
		"emoji, as many as are kept": strings.Repeat("😀", events.MaxEventID), "spaces": " a b ", "quotes": `a"b'c\`, "an accent": "é\u0301",
		"a line separator": "\u2028", "private use": "\ue000", "the replacement character": "\ufffd",
	} {
		for _, name := range []string{"id", "partitionkey", "correlationid", "anything"} {
			t.Run(name+"/"+how, func(t *testing.T) {
				e := factOf(t, events.OrderCreatedType, nil)
				setAttribute(&e, name, value)
				_, err := events.Decode[events.OrderCreated](e)
				assert.NoError(t, err)
			})
		}
	}
}

func TestDecodeTakesAnEventWithoutSchemaAndWithCharset(t *testing.T) {
	e := factOf(t, events.OrderCreatedType, nil)
	e.SetDataSchema("")
	e.SetDataContentType("application/json; charset=utf-8")
	_, err := events.Decode[events.OrderCreated](e)
	assert.NoError(t, err)
}
