package events_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const orderCreatedV1 = "order.created.v1"

const orderID = "f7a10c52-6f0e-7b3a-9d41-2b8c5e90d3f6"

var createdAt = time.Date(2025, 8, 12, 10, 23, 1, 0, time.UTC)

// samples has one fact of each contract, as in the golden files. The newest version is found by its type, an older one by the
// name of its files.
var samples = map[string]events.Data{
	events.OrderCreatedType: events.OrderCreated{
		OrderID: orderID, CustomerEmail: "alice@example.com",
		Items:       []events.Item{{SKU: "SKU-123", Quantity: 2, UnitPrice: 1299}},
		TotalAmount: 2598, Currency: "EUR", Channel: events.ChannelHTTP, CreatedAt: createdAt,
	},
	orderCreatedV1: events.OrderCreatedV1{
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
	events.PaymentAuthorizedType: events.PaymentAuthorized{
		OrderID: orderID, Amount: 2598, Currency: "EUR", Reference: "auth-4711",
		Items: []events.Item{{SKU: "SKU-123", Quantity: 2, UnitPrice: 1299}}, CreatedAt: createdAt.Add(12 * time.Millisecond),
	},
	events.PaymentDeclinedType: events.PaymentDeclined{
		OrderID: orderID, Amount: 2598, Currency: "EUR", Reason: "insufficient_funds", CreatedAt: createdAt.Add(12 * time.Millisecond),
	},
	events.PaymentRefundedType: events.PaymentRefunded{
		OrderID: orderID, Amount: 2598, Currency: "EUR", Reference: "refund-4711",
		Reason: events.ReasonCanceled, CreatedAt: createdAt.Add(time.Minute + 12*time.Millisecond),
	},
}

var readers = map[string]func(event.Event) (events.Data, error){
	events.OrderCreatedType:      reader[events.OrderCreated],
	orderCreatedV1:               reader[events.OrderCreatedV1],
	events.OrderConfirmedType:    reader[events.OrderConfirmed],
	events.OrderFailedType:       reader[events.OrderFailed],
	events.OrderCanceledType:     reader[events.OrderCanceled],
	events.InventoryReservedType: reader[events.InventoryReserved],
	events.InventoryRejectedType: reader[events.InventoryRejected],
	events.InventoryReleasedType: reader[events.InventoryReleased],
	events.PaymentAuthorizedType: reader[events.PaymentAuthorized],
	events.PaymentDeclinedType:   reader[events.PaymentDeclined],
	events.PaymentRefundedType:   reader[events.PaymentRefunded],
}

func reader[T events.Data](e event.Event) (events.Data, error) { return events.Decode[T](e) }

// factOf returns a sample as an event, with other data if given.
func factOf(t testing.TB, name string, data []byte) event.Event {
	t.Helper()
	e, err := events.New(samples[name], 1, createdAt, events.Cause{})
	require.NoError(t, err)
	if data != nil {
		e.DataEncoded = data
	}
	return e
}

// fileOf returns the name of the schema and of the golden file of a sample or of the command.
func fileOf(name string) string {
	version := 1
	if sample, ok := samples[name]; ok {
		name, version = sample.Type(), sample.Version()
	}
	return fmt.Sprintf("%s.v%d.json", name, version)
}

func goldenPath(name string) string { return filepath.Join("testdata", fileOf(name)) }

// golden returns the golden data of a sample or of the command, without its white space.
func golden(t testing.TB, name string) []byte {
	t.Helper()
	pretty, err := os.ReadFile(goldenPath(name))
	require.NoError(t, err)
	var compact bytes.Buffer
	require.NoError(t, json.Compact(&compact, pretty))
	return compact.Bytes()
}

// schemaOf compiles the published schema of a sample or of the command.
func schemaOf(t testing.TB, name string) *jsonschema.Schema {
	t.Helper()
	file, err := events.Schemas().Open(fileOf(name))
	require.NoError(t, err)
	defer file.Close()
	document, err := jsonschema.UnmarshalJSON(file)
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	uri := "https://example.com/orders/schemas/" + fileOf(name)
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

func TestTypesListsEveryFactOnce(t *testing.T) {
	var types []string
	for name, sample := range samples {
		if name == sample.Type() { // and not an older version
			types = append(types, name)
		}
	}
	assert.ElementsMatch(t, types, events.Types())
	assert.True(t, slices.IsSorted(events.Types()))
}

func TestDataEqualsItsGoldenFile(t *testing.T) {
	for name := range samples {
		t.Run(name, func(t *testing.T) {
			data := factOf(t, name, nil).Data()
			if *update {
				var pretty bytes.Buffer
				require.NoError(t, json.Indent(&pretty, data, "", "  "))
				pretty.WriteByte('\n')
				require.NoError(t, os.WriteFile(goldenPath(name), pretty.Bytes(), 0o644))
			}
			assert.Equal(t, string(golden(t, name)), string(data))
		})
	}
}

func TestGoldenFilesDecode(t *testing.T) {
	for name, want := range samples {
		t.Run(name, func(t *testing.T) {
			got, err := readers[name](factOf(t, name, golden(t, name)))
			require.NoError(t, err)
			assert.Equal(t, want, got)
		})
	}
}

func TestGoldenFilesFollowTheirSchema(t *testing.T) {
	for _, name := range append(slices.Collect(maps.Keys(samples)), events.OrderCreateType) {
		t.Run(name, func(t *testing.T) {
			assert.NoError(t, checkSchema(t, schemaOf(t, name), golden(t, name)))
		})
	}
}

// The wire format was agreed with these two examples before the code existed.
func TestWireFormatIsTheAgreedOne(t *testing.T) {
	agreed := map[string]string{
		orderCreatedV1: `{
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
