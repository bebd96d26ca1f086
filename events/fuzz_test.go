package events_test

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
)

// What was read is within bounds, conforms to the published schema, and reads the same after it was written again.
func FuzzParseCreateOrder(f *testing.F) {
	schema := schemaOf(f, events.OrderCreateType)
	f.Add(golden(f, events.OrderCreateType))
	f.Add([]byte(`{"items":[{"sku":"\u0041","quantity":1e3,"unitPrice":-0}],"customerEmail":"\ud83d\ude00@b","x":[[]]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		first, err := events.ParseCreateOrder(body)
		if err != nil {
			require.NotEmpty(t, fieldsOf(t, err))
			return
		}
		require.NoError(t, first.Validate())
		require.NoError(t, checkSchema(t, schema, body))
		again, err := json.Marshal(first)
		require.NoError(t, err)
		second, err := events.ParseCreateOrder(again)
		require.NoError(t, err)
		require.Equal(t, first, second)
		require.Equal(t, first.Fingerprint(), second.Fingerprint())
	})
}

func FuzzDecode(f *testing.F) {
	names := slices.Sorted(maps.Keys(samples))
	for i, name := range names {
		f.Add(uint8(i), golden(f, name))
	}
	f.Fuzz(func(t *testing.T, choice uint8, data []byte) {
		name := names[int(choice)%len(names)]
		e := factOf(t, name, data)
		var head struct{ OrderID string }
		if json.Unmarshal(data, &head) == nil {
			e.SetSubject(head.OrderID)
		}
		first, err := readers[name](e)
		if err != nil {
			return
		}
		require.NoError(t, first.Validate())
		assert.NoError(t, checkSchema(t, schemaOf(t, name), data))
		again, err := events.New(first, 1, createdAt, events.Cause{})
		require.NoError(t, err)
		second, err := readers[name](again)
		require.NoError(t, err)
		require.Equal(t, first, second)
	})
}

func BenchmarkParseCreateOrder(b *testing.B) {
	body := []byte(`{"customerEmail":"alice@example.com","items":[{"sku":"SKU-123","quantity":2,"unitPrice":1299},{"sku":"SKU-7","quantity":1,"unitPrice":500}]}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := events.ParseCreateOrder(body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNew(b *testing.B) {
	cause := events.Cause{CorrelationID: "c-1", CausationID: "k-2", Traceparent: traceparent}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := events.New(samples[events.OrderCreatedType], 1, createdAt, cause); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	e := factOf(b, events.OrderCreatedType, nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := events.Decode[events.OrderCreated](e); err != nil {
			b.Fatal(err)
		}
	}
}
