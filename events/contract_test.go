package events_test

import (
	"io/fs"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
)

func TestDecodeUpcastsAnOlderVersion(t *testing.T) {
	e := factOf(t, orderCreatedV1, nil)
	require.Equal(t, "https://example.com/orders/schemas/order.created.v1.json", e.DataSchema())
	got, err := events.Decode[events.OrderCreated](e)
	require.NoError(t, err)
	want := samples[events.OrderCreatedType].(events.OrderCreated)
	want.Currency, want.Channel = "", ""
	assert.Equal(t, want, got, "nobody knows the currency and the channel of version 1")

	e.SetDataSchema("")
	_, err = events.Decode[events.OrderCreated](e)
	assert.NoError(t, err, "the version is read from the data")
}

func TestAnOlderVersionIsReadInItsOwnBounds(t *testing.T) {
	first, second := string(golden(t, orderCreatedV1)), string(golden(t, events.OrderCreatedType))
	for name, test := range map[string]struct{ data, field string }{
		"the data of 2 as 1": {strings.Replace(second, `"version":2`, `"version":1`, 1), "channel"},
		"the data of 1 as 2": {strings.Replace(first, `"version":1`, `"version":2`, 1), "channel"},
	} {
		e := factOf(t, events.OrderCreatedType, []byte(test.data))
		e.SetDataSchema("")
		_, err := events.Decode[events.OrderCreated](e)
		assert.Contains(t, fieldsOf(t, err), test.field, name)
	}
}

func TestDecodeRefusesANewerVersion(t *testing.T) {
	second := factOf(t, events.OrderCreatedType, nil)
	_, err := events.Decode[events.OrderCreatedV1](second)
	require.ErrorIs(t, err, events.ErrUnknownVersion)
	assert.ErrorContains(t, err, "unknown version 2: this program reads version 1")

	for number, e := range map[string]string{"3": events.OrderCreatedType, "2": events.OrderConfirmedType, "-1": events.OrderCreatedType} {
		data := string(golden(t, e))
		begin, rest, found := strings.Cut(data, `"version":`)
		require.True(t, found)
		event := factOf(t, e, []byte(begin+`"version":`+number+rest[1:]))
		event.SetDataSchema("https://example.com/orders/schemas/" + e + ".v" + number + ".json")
		_, err := readers[e](event)
		assert.ErrorIs(t, err, events.ErrUnknownVersion, "%s %s", e, number)
		if e == events.OrderCreatedType {
			assert.ErrorContains(t, err, "this program reads versions 1 to 2")
		}
		assert.ErrorIs(t, events.Check(event), events.ErrUnknownVersion, "%s %s", e, number)
	}
}

func TestDecodeRefusesTheSchemaOfAnotherVersion(t *testing.T) {
	for name, other := range map[string]string{orderCreatedV1: "order.created.v2.json", events.OrderCreatedType: "order.created.v1.json"} {
		e := factOf(t, name, nil)
		e.SetDataSchema("https://example.com/orders/schemas/" + other)
		_, err := events.Decode[events.OrderCreated](e)
		require.Error(t, err, name)
		assert.NotErrorIs(t, err, events.ErrUnknownVersion, name)
		assert.ErrorContains(t, err, "data schema is", name)
	}
}

func TestCheckDecodesAFactByItsTypeAndVersion(t *testing.T) {
	for name := range samples {
		e := factOf(t, name, golden(t, name))
		require.NoError(t, events.Check(e))
		e.SetSubject("0" + orderID[1:])
		assert.ErrorContains(t, events.Check(e), "subject", name)
	}
	foreign := factOf(t, events.OrderCreatedType, golden(t, events.OrderCreatedType))
	foreign.SetType("dev.knative.kafka.event")
	assert.EqualError(t, events.Check(foreign), `no fact has the type "dev.knative.kafka.event"`)
}

// The versions of a type have no gap, the newest is marked, and each is upcast to it.
func TestContractsListEveryVersionWithItsFiles(t *testing.T) {
	before := events.Contract{Newest: true}
	var files []string
	for _, c := range events.Contracts() {
		if c.Type == before.Type {
			assert.Equal(t, before.Version+1, c.Version, c.File)
			assert.Equal(t, before.Source, c.Source, c.File)
			assert.False(t, before.Newest, before.File)
		} else {
			assert.True(t, before.Newest, before.File)
			assert.Less(t, before.Type, c.Type)
		}
		name := strings.TrimSuffix(c.File, ".json")
		if c.Newest {
			name = c.Type
		}
		require.Contains(t, samples, name)
		assert.Equal(t, c.Version, samples[name].Version())
		assert.Equal(t, c.URI, factOf(t, name, nil).DataSchema())
		newest, err := readers[c.Type](factOf(t, name, nil))
		require.NoError(t, err)
		assert.IsType(t, samples[c.Type], newest, "%s is upcast to the newest version", c.File)
		files = append(files, c.File)
		before = c
	}
	assert.True(t, before.Newest)
	assert.Len(t, files, len(samples))
	for what, folder := range map[string]fs.FS{"schemas": events.Schemas(), "examples": events.Examples()} {
		published, err := fs.Glob(folder, "*.json")
		require.NoError(t, err)
		assert.Subset(t, published, append(files, "order.create.v1.json"), what)
	}
}

func TestVersionOneIsWhatItsConsumersKnow(t *testing.T) {
	second := samples[events.OrderCreatedType].(events.OrderCreated)
	assert.Equal(t, samples[orderCreatedV1], events.Data(second.V1()))
}
