package events_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const orderID = "f7a10c52-6f0e-7b3a-9d41-2b8c5e90d3f6"

var createdAt = time.Date(2025, 8, 12, 10, 23, 1, 0, time.UTC)

// samples has one fact of each type, as in the golden files.
var samples = map[string]events.Data{
	events.OrderCreatedType: events.OrderCreated{
		OrderID: orderID, CustomerEmail: "alice@example.com",
		Items:       []events.Item{{SKU: "SKU-123", Quantity: 2, UnitPrice: 1299}},
		TotalAmount: 2598, CreatedAt: createdAt,
	},
	events.OrderConfirmedType: events.OrderConfirmed{
		OrderID: orderID, CustomerEmail: "alice@example.com",
		TotalAmount: 2598, CreatedAt: createdAt.Add(42 * time.Millisecond),
	},
	events.OrderFailedType: events.OrderFailed{
		OrderID: orderID, CustomerEmail: "alice@example.com", Reason: events.ReasonOutOfStock,
		Shortages: []events.Shortage{{SKU: "SKU-123", Requested: 2, Available: 1}},
		CreatedAt: createdAt.Add(42 * time.Millisecond),
	},
	events.OrderCanceledType: events.OrderCanceled{
		OrderID: orderID, CustomerEmail: "alice@example.com",
		PreviousStatus: events.StatusConfirmed, CreatedAt: createdAt.Add(time.Minute),
	},
	events.InventoryReservedType: events.InventoryReserved{
		OrderID: orderID, Reservations: []events.Quantity{{SKU: "SKU-123", Quantity: 2}},
	},
	events.InventoryRejectedType: events.InventoryRejected{
		OrderID: orderID, Reason: events.ReasonUnknownSKU,
		Shortages: []events.Shortage{
			{SKU: "SKU-123", Requested: 2, Available: 1},
			{SKU: "SKU-999", Requested: 1, Available: 0},
		},
		CreatedAt: createdAt.Add(21 * time.Millisecond),
	},
	events.InventoryReleasedType: events.InventoryReleased{
		OrderID: orderID, Releases: []events.Quantity{{SKU: "SKU-123", Quantity: 2}},
		Reason: events.ReasonCanceled, CreatedAt: createdAt.Add(time.Minute + 21*time.Millisecond),
	},
}

var readers = map[string]func(event.Event) (events.Data, error){
	events.OrderCreatedType:      reader[events.OrderCreated],
	events.OrderConfirmedType:    reader[events.OrderConfirmed],
	events.OrderFailedType:       reader[events.OrderFailed],
	events.OrderCanceledType:     reader[events.OrderCanceled],
	events.InventoryReservedType: reader[events.InventoryReserved],
	events.InventoryRejectedType: reader[events.InventoryRejected],
	events.InventoryReleasedType: reader[events.InventoryReleased],
}

func reader[T events.Data](e event.Event) (events.Data, error) { return events.Decode[T](e) }

// factOf returns the golden fact of a type as an event, with other data if given.
func factOf(t testing.TB, typ string, data []byte) event.Event {
	t.Helper()
	e, err := events.New(samples[typ], 1, createdAt, events.Cause{})
	require.NoError(t, err)
	if data != nil {
		e.DataEncoded = data
	}
	return e
}

func goldenPath(typ string) string { return filepath.Join("testdata", typ+".v1.json") }

// golden returns the golden data of a type without its white space.
func golden(t testing.TB, typ string) []byte {
	t.Helper()
	pretty, err := os.ReadFile(goldenPath(typ))
	require.NoError(t, err)
	var compact bytes.Buffer
	require.NoError(t, json.Compact(&compact, pretty))
	return compact.Bytes()
}

// schemaOf compiles the published schema of a type.
func schemaOf(t testing.TB, typ string) *jsonschema.Schema {
	t.Helper()
	file, err := events.Schemas().Open(typ + ".v1.json")
	require.NoError(t, err)
	defer file.Close()
	document, err := jsonschema.UnmarshalJSON(file)
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	uri := fmt.Sprintf("https://example.com/orders/schemas/%s.v1.json", typ)
	require.Equal(t, uri, document.(map[string]any)["$id"])
	require.NoError(t, compiler.AddResource(uri, document))
	schema, err := compiler.Compile(uri)
	require.NoError(t, err)
	return schema
}

func checkSchema(t testing.TB, schema *jsonschema.Schema, data []byte) error {
	t.Helper()
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	require.NoError(t, err)
	return schema.Validate(instance)
}

func TestTypesListsEveryFact(t *testing.T) {
	var types []string
	for typ, d := range samples {
		assert.Equal(t, typ, d.Type())
		types = append(types, typ)
	}
	assert.ElementsMatch(t, types, events.Types())
}

func TestDataEqualsItsGoldenFile(t *testing.T) {
	for typ := range samples {
		t.Run(typ, func(t *testing.T) {
			data := factOf(t, typ, nil).Data()
			if *update {
				var pretty bytes.Buffer
				require.NoError(t, json.Indent(&pretty, data, "", "  "))
				pretty.WriteByte('\n')
				require.NoError(t, os.WriteFile(goldenPath(typ), pretty.Bytes(), 0o644))
			}
			assert.Equal(t, string(golden(t, typ)), string(data))
		})
	}
}

func TestGoldenFilesDecode(t *testing.T) {
	for typ, want := range samples {
		t.Run(typ, func(t *testing.T) {
			got, err := readers[typ](factOf(t, typ, golden(t, typ)))
			require.NoError(t, err)
			assert.Equal(t, want, got)
		})
	}
}

func TestGoldenFilesFollowTheirSchema(t *testing.T) {
	for _, typ := range append(events.Types(), events.OrderCreateType) {
		t.Run(typ, func(t *testing.T) {
			assert.NoError(t, checkSchema(t, schemaOf(t, typ), golden(t, typ)))
		})
	}
}

// The wire format was agreed with these two examples before the code existed.
func TestWireFormatIsTheAgreedOne(t *testing.T) {
	agreed := map[string]string{
		events.OrderCreatedType: `{
  "eventType": "order.created",
  "version": 1,
  "orderId": "` + orderID + `",
  "customerEmail": "alice@example.com",
  "items": [
    {"sku":"SKU-123","quantity":2,"unitPrice":1299}
  ],
  "totalAmount": 2598,
  "createdAt": "2025-08-12T10:23:01Z"
}`,
		events.InventoryReservedType: `{
  "eventType": "inventory.reserved",
  "version": 1,
  "orderId": "` + orderID + `",
  "reservations": [
    {"sku":"SKU-123","quantity":2}
  ]
}`,
	}
	for typ, want := range agreed {
		var compact bytes.Buffer
		require.NoError(t, json.Compact(&compact, []byte(want)))
		assert.Equal(t, compact.String(), string(golden(t, typ)))
	}
}
