package avro

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"math"
	"strings"
	"testing"
	"testing/quick"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	twmb "github.com/twmb/avro"

	"example.com/orders/events"
)

// golden returns the golden data of a contract, without its white space.
func golden(t testing.TB, c events.Contract) []byte {
	t.Helper()
	pretty, err := fs.ReadFile(events.Examples(), c.File)
	require.NoError(t, err)
	var compact bytes.Buffer
	require.NoError(t, json.Compact(&compact, pretty))
	return compact.Bytes()
}

// there and back.
func backAgain(t testing.TB, eventType string, data []byte) string {
	t.Helper()
	s, encoded, err := Encode(eventType, data)
	require.NoError(t, err)
	r, err := NewReader(eventType, s.Text)
	require.NoError(t, err)
	got, err := r.JSON(encoded)
	require.NoError(t, err)
	return string(got)
}

func TestGoldenDataComesBackByteByByte(t *testing.T) {
	for _, c := range events.Contracts() {
		assert.Equal(t, string(golden(t, c)), backAgain(t, c.Type, golden(t, c)), c.File)
	}
}

func TestAnyTextNumberAndTimeComesBack(t *testing.T) {
	check := func(order, email, reason string, shortages []events.Shortage, micros int64) bool {
		data, err := json.Marshal(events.OrderFailed{
			OrderID: order, CustomerEmail: email, Reason: reason, Shortages: shortages,
			CreatedAt: time.UnixMicro((micros & math.MaxInt64) % 253402300800000000).UTC(), // of the years 1970 to 9999
		})
		require.NoError(t, err)
		data = append([]byte(`{"eventType":"order.failed","version":1,`), data[1:]...)
		return assert.Equal(t, string(data), backAgain(t, events.OrderFailedType, data))
	}
	require.NoError(t, quick.Check(check, nil))
}

// Data of an older version is read with its own fields, by whichever schema of a newer version.
func TestEveryVersionReadsThoseBefore(t *testing.T) {
	for i, older := range Schemas() {
		for _, newer := range Schemas()[i:] {
			if newer.Type == older.Type {
				assert.NoError(t, twmb.CheckCompatibility(older.parsed, newer.parsed), "%s cannot read %s", File(newer.Contract), File(older.Contract))
			}
		}
	}
}

const extended = `{"type":"record","name":"OrderConfirmed","namespace":"elsewhere","fields":[
	{"name":"note","type":["null","string"],"default":null},
	{"name":"orderId","type":"string"},{"name":"version","type":"int"},{"name":"customerEmail","type":"string"},
	{"name":"totalAmount","type":"int"},{"name":"createdAt","type":{"type":"long","logicalType":"timestamp-micros"}}]}`

func TestDataOfAnotherWriterIsReadByItsSchema(t *testing.T) {
	confirmed, _ := find(events.OrderConfirmedType, 1)
	data := golden(t, confirmed.Contract)
	writer := twmb.MustParse(extended)
	fields, _, err := parse(events.OrderConfirmedType, data)
	require.NoError(t, err)
	require.NoError(t, confirmed.complete(fields))
	fields["note"] = "hello"
	encoded, err := writer.Encode(fields)
	require.NoError(t, err)

	r, err := NewReader(events.OrderConfirmedType, extended)
	require.NoError(t, err)
	got, err := r.JSON(encoded)
	require.NoError(t, err)
	assert.Equal(t, string(data), string(got))
}

func TestAnUnknownVersionIsNamed(t *testing.T) {
	confirmed, _ := find(events.OrderConfirmedType, 1)
	fields, _, err := parse(events.OrderConfirmedType, golden(t, confirmed.Contract))
	require.NoError(t, err)
	require.NoError(t, confirmed.complete(fields))
	fields[versionField] = 7
	encoded, err := confirmed.parsed.Encode(fields)
	require.NoError(t, err)
	r, err := NewReader(events.OrderConfirmedType, confirmed.Text)
	require.NoError(t, err)
	got, err := r.JSON(encoded)
	require.NoError(t, err)
	assert.JSONEq(t, `{"eventType":"order.confirmed","version":7}`, string(got))
}

func TestWhatIsNoDataOfTheSchemaIsAnError(t *testing.T) {
	confirmed, _ := find(events.OrderConfirmedType, 1)
	_, encoded, err := Encode(confirmed.Type, golden(t, confirmed.Contract))
	require.NoError(t, err)
	r, err := NewReader(confirmed.Type, confirmed.Text)
	require.NoError(t, err)
	for name, data := range map[string][]byte{
		"nothing":   nil,
		"cut":       encoded[:len(encoded)-1],
		"too long":  append(bytes.Clone(encoded), 0),
		"JSON":      golden(t, confirmed.Contract),
		"not UTF-8": bytes.Replace(encoded, []byte("alice"), []byte("al\xffce"), 1),
	} {
		_, err := r.JSON(data)
		assert.Error(t, err, name)
	}
}

func TestASchemaOfSomethingElseIsRefused(t *testing.T) {
	for name, schema := range map[string]string{
		"no schema":    `{`,
		"another type": Schemas()[0].Text,
		"no version":   strings.Replace(extended, `{"name":"version","type":"int"},`, "", 1),
	} {
		_, err := NewReader(events.OrderConfirmedType, schema)
		assert.Error(t, err, name)
	}
	_, err := NewReader("order.unheard", extended)
	assert.ErrorContains(t, err, `no fact has the type "order.unheard"`)
}

func TestEncodeLosesNothing(t *testing.T) {
	created, _ := find(events.OrderCreatedType, 1)
	data := string(golden(t, created.Contract))
	for name, test := range map[string]struct{ data, says string }{
		"an unknown field":     {strings.Replace(data, `"version":1`, `"version":1,"x":1`, 1), "no such field"},
		"an unknown inner one": {strings.Replace(data, `"quantity":2`, `"quantity":2,"x":1`, 1), "no such field"},
		"a missing field":      {strings.Replace(data, `"totalAmount":2598,`, ``, 1), "totalAmount"},
		"another type":         {strings.Replace(data, `"order.created"`, `"order.failed"`, 1), "eventType is order.failed"},
		"an unknown version":   {strings.Replace(data, `"version":1`, `"version":9`, 1), "version 9 has no schema"},
		"a fraction":           {strings.Replace(data, `2598`, `2598.5`, 1), "totalAmount"},
		"no time":              {strings.Replace(data, `2025-08-12T10:23:01Z`, `today`, 1), "createdAt"},
		"no JSON":              {"{", "no JSON object"},
	} {
		_, _, err := Encode(events.OrderCreatedType, []byte(test.data))
		assert.ErrorContains(t, err, test.says, name)
	}
}

func BenchmarkEncode(b *testing.B) {
	created, _ := find(events.OrderCreatedType, 2)
	data := golden(b, created.Contract)
	_, encoded, err := Encode(created.Type, data)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Encode(created.Type, data); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(data)), "JSON-bytes")
	b.ReportMetric(float64(len(encoded)), "Avro-bytes")
}

func BenchmarkDecode(b *testing.B) {
	created, _ := find(events.OrderCreatedType, 2)
	_, encoded, err := Encode(created.Type, golden(b, created.Contract))
	require.NoError(b, err)
	r, err := NewReader(created.Type, created.Text)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.JSON(encoded); err != nil {
			b.Fatal(err)
		}
	}
}
