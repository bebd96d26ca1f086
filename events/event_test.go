package events_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
)

const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestNewSetsEveryAttribute(t *testing.T) {
	tokyo := time.FixedZone("Tokyo", 9*60*60)
	at := time.Date(2025, 8, 12, 19, 23, 1, 123456789, tokyo)
	e, err := events.New(samples[events.OrderCreatedType], 3, at, events.Cause{
		CorrelationID: "c-1", CausationID: "k-2", Traceparent: traceparent, Tracestate: "a=1, b=2",
	})
	require.NoError(t, err)
	assert.Equal(t, "1.0", e.SpecVersion())
	assert.Equal(t, orderID+"#3", e.ID())
	assert.Equal(t, "/orders", e.Source())
	assert.Equal(t, "order.created", e.Type())
	assert.Equal(t, orderID, e.Subject())
	assert.Equal(t, time.Date(2025, 8, 12, 10, 23, 1, 123456000, time.UTC), e.Time())
	assert.Equal(t, "application/json", e.DataContentType())
	assert.Equal(t, "https://example.com/orders/schemas/order.created.v2.json", e.DataSchema())
	assert.Equal(t, map[string]any{
		"partitionkey": orderID, "correlationid": "c-1", "causationid": "k-2",
		"traceparent": traceparent, "tracestate": "a=1, b=2",
	}, e.Extensions())
}

func TestNewLeavesOutMissingAndInvalidPartsOfTheCause(t *testing.T) {
	for name, cause := range map[string]events.Cause{
		"nothing":                {},
		"a broken trace":         {Traceparent: "00-xyz-01", Tracestate: "a=1"},
		"a trace of only zeros":  {Traceparent: "00-00000000000000000000000000000000-00f067aa0ba902b7-01"},
		"a state without parent": {Tracestate: "a=1"},
	} {
		e, err := events.New(samples[events.InventoryReservedType], 1, createdAt, cause)
		require.NoError(t, err, name)
		assert.Equal(t, map[string]any{"partitionkey": orderID}, e.Extensions(), name)
	}
}

func TestNewWritesDataAsJSONInStructuredMode(t *testing.T) {
	structured, err := json.Marshal(factOf(t, events.OrderCreatedType, nil))
	require.NoError(t, err)
	assert.Contains(t, string(structured), `"data":`+string(golden(t, events.OrderCreatedType)))
}

func TestNewWritesTimesOfDataAsUTCMicroseconds(t *testing.T) {
	d := samples[events.OrderCanceledType].(events.OrderCanceled)
	d.CreatedAt = time.Date(2025, 8, 12, 19, 24, 1, 123456789, time.FixedZone("Tokyo", 9*60*60))
	e, err := events.New(d, 1, createdAt, events.Cause{})
	require.NoError(t, err)
	assert.Contains(t, string(e.Data()), `"createdAt":"2025-08-12T10:24:01.123456Z"`)
}

func TestNewRefusesWhatAReaderWouldRefuse(t *testing.T) {
	good := samples[events.OrderCreatedType].(events.OrderCreated)
	short := good
	short.TotalAmount--
	tests := map[string]struct {
		data  events.Data
		n     int
		at    time.Time
		cause events.Cause
	}{
		"empty data":              {data: events.OrderCreated{}, n: 1, at: createdAt},
		"a wrong sum":             {data: short, n: 1, at: createdAt},
		"a count from zero":       {data: good, n: 0, at: createdAt},
		"no time":                 {data: good, n: 1},
		"a correlation too long":  {data: good, n: 1, at: createdAt, cause: events.Cause{CorrelationID: strings.Repeat("c", 129)}},
		"a cause with line break": {data: good, n: 1, at: createdAt, cause: events.Cause{CausationID: "a\nb"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := events.New(test.data, test.n, test.at, test.cause)
			assert.Error(t, err)
		})
	}
}

func TestCauseOfContinuesTheFlow(t *testing.T) {
	first, err := events.New(samples[events.OrderCreatedType], 1, createdAt, events.Cause{Traceparent: traceparent, Tracestate: "a=1"})
	require.NoError(t, err)
	cause := events.CauseOf(first)
	assert.Equal(t, events.Cause{
		CorrelationID: orderID + "#1", CausationID: orderID + "#1", Traceparent: traceparent, Tracestate: "a=1",
	}, cause, "an event without a correlation id begins a flow")

	second, err := events.New(samples[events.InventoryReservedType], 2, createdAt, cause)
	require.NoError(t, err)
	assert.Equal(t, events.Cause{
		CorrelationID: orderID + "#1", CausationID: orderID + "#2", Traceparent: traceparent, Tracestate: "a=1",
	}, events.CauseOf(second))
}

func TestCauseOfMakesForeignIDsPortable(t *testing.T) {
	e := event.New()
	e.SetID(strings.Repeat("é", 300))
	cause := events.CauseOf(e)
	assert.True(t, events.ValidCorrelationID(cause.CorrelationID))
	assert.Equal(t, cause.CorrelationID, cause.CausationID)
	_, err := events.New(samples[events.OrderCreatedType], 1, createdAt, cause)
	assert.NoError(t, err)
}

func TestParseIDAcceptsOnlyIDsOfNew(t *testing.T) {
	id, n, err := events.ParseID(orderID + "#12")
	require.NoError(t, err)
	assert.Equal(t, orderID, id)
	assert.Equal(t, 12, n)
	for _, id := range []string{
		"", "#1", orderID, orderID + "#", orderID + "#0", orderID + "#01", orderID + "#+1", orderID + "#-1",
		orderID + "#1#1", "x#1", orderID + "#99999999999999999999",
	} {
		_, _, err := events.ParseID(id)
		assert.Error(t, err, id)
	}
}

func TestTotalSumsAndStopsAtTheBound(t *testing.T) {
	total, err := events.Total([]events.Item{{Quantity: 2, UnitPrice: 1299}, {Quantity: 1, UnitPrice: 1}})
	require.NoError(t, err)
	assert.EqualValues(t, 2599, total)

	total, err = events.Total([]events.Item{{Quantity: 1, UnitPrice: events.MaxTotal}})
	require.NoError(t, err)
	assert.EqualValues(t, 9_007_199_254_740_991, total)

	for name, items := range map[string][]events.Item{
		"one above":          {{Quantity: 1, UnitPrice: events.MaxTotal}, {Quantity: 1, UnitPrice: 1}},
		"a line over 64 bit": {{Quantity: 1 << 40, UnitPrice: 1 << 40}},
		"the largest line":   {{Quantity: events.MaxQuantity, UnitPrice: events.MaxUnitPrice}},
	} {
		_, err := events.Total(items)
		assert.ErrorIs(t, err, events.ErrTotalOverflow, name)
	}
}

func TestNamesHoldToTheirAlphabet(t *testing.T) {
	assert.True(t, events.ValidOrderID(orderID))
	assert.False(t, events.ValidOrderID(strings.ToUpper(orderID)))
	assert.False(t, events.ValidOrderID(strings.ReplaceAll(orderID, "-", "")))
	assert.True(t, events.ValidSKU("a.B_9-"))
	assert.False(t, events.ValidSKU("a:b"))
	assert.False(t, events.ValidSKU("ä"))
	assert.True(t, events.ValidCorrelationID("a.B_9-:"+strings.Repeat("x", 121)))
	assert.False(t, events.ValidCorrelationID(strings.Repeat("x", 129)))
	assert.False(t, events.ValidCorrelationID(""))
	assert.False(t, events.ValidCorrelationID("a#1"))
}
