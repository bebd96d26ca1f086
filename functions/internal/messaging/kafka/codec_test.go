package kafka_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/kafka"
)

var noon = time.Date(2026, 11, 25, 12, 0, 0, 123456000, time.UTC)

// created is an order.created as it is in the outbox.
func created() event.Event {
	e := event.New()
	e.SetID("7d4a#1")
	e.SetType("order.created")
	e.SetSource("/orders")
	e.SetSubject("7d4a")
	e.SetTime(noon)
	e.SetDataSchema("https://example.com/orders/events/order.created.v1.json")
	e.SetDataContentType("application/json")
	e.SetExtension("partitionkey", "7d4a")
	e.SetExtension("correlationid", "c-1")
	e.SetExtension("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	e.DataEncoded = []byte(`{ "orderId":"7d4a", "totalAmount":2598 }`)
	return e
}

// consumed returns the record that a consumer reads for a produced one.
func consumed(t *testing.T, m *sarama.ProducerMessage) *sarama.ConsumerMessage {
	t.Helper()
	record := &sarama.ConsumerMessage{Topic: m.Topic, Partition: 2, Offset: 41}
	for _, h := range m.Headers {
		record.Headers = append(record.Headers, &h)
	}
	var err error
	if m.Key != nil {
		record.Key, err = m.Key.Encode()
		require.NoError(t, err)
	}
	if m.Value != nil {
		record.Value, err = m.Value.Encode()
		require.NoError(t, err)
	}
	return record
}

func TestEncodeWritesTheBinaryMode(t *testing.T) {
	m, err := kafka.Encode(t.Context(), created())
	require.NoError(t, err)

	assert.Equal(t, "order.created", m.Topic)
	record := consumed(t, m)
	assert.Equal(t, "7d4a", string(record.Key))
	assert.Equal(t, `{ "orderId":"7d4a", "totalAmount":2598 }`, string(record.Value), "the value is the data, byte for byte")
	headers := map[string]string{}
	for _, h := range record.Headers {
		headers[string(h.Key)] = string(h.Value)
	}
	assert.Equal(t, map[string]string{
		"ce_specversion": "1.0", "ce_id": "7d4a#1", "ce_type": "order.created", "ce_source": "/orders", "ce_subject": "7d4a",
		"ce_time": "2026-11-25T12:00:00.123456Z", "ce_dataschema": "https://example.com/orders/events/order.created.v1.json", "content-type": "application/json",
		"ce_partitionkey": "7d4a", "ce_correlationid": "c-1",
		"ce_traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}, headers)
	assert.Len(t, record.Headers, len(headers), "no header twice")
}

func TestEncodeLeavesTheKeyOutWithoutPartitionKey(t *testing.T) {
	e := created()
	e.SetExtension("partitionkey", nil)
	m, err := kafka.Encode(t.Context(), e)
	require.NoError(t, err)
	assert.Nil(t, m.Key)
}

func TestEncodeRefusesAnInvalidEvent(t *testing.T) {
	e := created()
	e.SetID("")
	_, err := kafka.Encode(t.Context(), e)
	require.Error(t, err)
}

func TestDecodeInvertsEncode(t *testing.T) {
	m, err := kafka.Encode(t.Context(), created())
	require.NoError(t, err)

	e := kafka.Decode(consumed(t, m), "orders", "reserve-stock")

	want := created()
	want.SetExtension("knativekafkapartition", "2")
	want.SetExtension("knativekafkaoffset", "41")
	assert.Equal(t, want.String(), e.String())
	assert.Equal(t, want.Data(), e.Data())
	assert.Equal(t, want.Extensions(), e.Extensions(), "no kafkaoffset, kafkapartition or kafkatopic of the SDK")
}

func headers(pairs ...string) (all []*sarama.RecordHeader) {
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, &sarama.RecordHeader{Key: []byte(pairs[i]), Value: []byte(pairs[i+1])})
	}
	return all
}

func TestDecodeMapsAsKafkaSourceDoes(t *testing.T) {
	const structured = `{"specversion":"1.0","id":"7d4a#1","type":"order.created","source":"/orders","correlationid":"c-1","datacontenttype":"application/json","data":{"orderId":"7d4a"}}`
	type expected struct {
		foreign    bool
		mediaType  string
		data       string
		extensions map[string]any
	}
	for name, c := range map[string]struct {
		record sarama.ConsumerMessage
		want   expected
	}{
		"binary": {
			sarama.ConsumerMessage{Key: []byte("7d4a"), Value: []byte(`{}`), Headers: headers("ce_specversion", "1.0", "ce_id", "7d4a#1", "ce_type", "order.created", "ce_source", "/orders", "content-type", "application/json", "other", "dropped")},
			expected{mediaType: "application/json", data: `{}`},
		},
		"binary with header names in capitals": {
			sarama.ConsumerMessage{Value: []byte(`{}`), Headers: headers("CE_specversion", "1.0", "ce_ID", "7d4a#1", "Ce_Type", "order.created", "ce_source", "/orders", "Content-Type", "application/json")},
			expected{mediaType: "application/json", data: `{}`},
		},
		"binary without content-type": {
			sarama.ConsumerMessage{Value: []byte(`{}`), Headers: headers("ce_specversion", "1.0", "ce_id", "7d4a#1", "ce_type", "order.created", "ce_source", "/orders")},
			expected{data: `{}`},
		},
		"binary with a null value": {
			sarama.ConsumerMessage{Headers: headers("ce_specversion", "1.0", "ce_id", "7d4a#1", "ce_type", "order.created", "ce_source", "/orders", "content-type", "application/json")},
			expected{mediaType: "application/json"},
		},
		"structured": {
			sarama.ConsumerMessage{Value: []byte(structured), Headers: headers("content-type", "application/cloudevents+json; charset=utf-8")},
			expected{mediaType: "application/json", data: `{"orderId":"7d4a"}`, extensions: map[string]any{"correlationid": "c-1"}},
		},
		"structured with bad JSON": {
			sarama.ConsumerMessage{Value: []byte(`{"specversion":`), Headers: headers("content-type", "application/cloudevents+json")},
			expected{foreign: true, mediaType: "application/cloudevents+json", data: `{"specversion":`},
		},
		"structured, with bytes behind white space": {
			sarama.ConsumerMessage{Value: []byte(`{"data_base64": "e30=",` + structured[1:strings.Index(structured, `,"correlationid"`)] + `}`), Headers: headers("content-type", "application/cloudevents+json")},
			expected{data: `{}`},
		},
		"structured, with a digit for bytes": {
			sarama.ConsumerMessage{Value: []byte(`{"data_base64":1,"specversion":"1.0"}`), Headers: headers("content-type", "application/cloudevents+json")},
			expected{foreign: true, mediaType: "application/cloudevents+json", data: `{"data_base64":1,"specversion":"1.0"}`},
		},
		"structured, of an old version, with null for the encoding": {
			sarama.ConsumerMessage{Value: []byte(`{"datacontentencoding":null,"specversion":"0.3"}`), Headers: headers("content-type", "application/cloudevents+json")},
			expected{foreign: true, mediaType: "application/cloudevents+json", data: `{"datacontentencoding":null,"specversion":"0.3"}`},
		},
		"structured without id": {
			sarama.ConsumerMessage{Value: []byte(`{"specversion":"1.0","type":"order.created","source":"/orders"}`), Headers: headers("content-type", "application/cloudevents+json")},
			expected{foreign: true, mediaType: "application/cloudevents+json", data: `{"specversion":"1.0","type":"order.created","source":"/orders"}`},
		},
		"structured with a null value": {
			sarama.ConsumerMessage{Headers: headers("content-type", "application/cloudevents+json")},
			expected{foreign: true, mediaType: "application/cloudevents+json"},
		},
		"a batch": {
			sarama.ConsumerMessage{Value: []byte(`[` + structured + `]`), Headers: headers("content-type", "application/cloudevents-batch+json")},
			expected{foreign: true, mediaType: "application/cloudevents-batch+json", data: `[` + structured + `]`},
		},
		"without ce_id": {
			sarama.ConsumerMessage{Value: []byte(`{}`), Headers: headers("ce_specversion", "1.0", "ce_type", "order.created", "ce_source", "/orders")},
			expected{foreign: true, data: `{}`, extensions: map[string]any{"kafkaheadercespecversion": "1.0", "kafkaheadercetype": "order.created", "kafkaheadercesource": "/orders"}},
		},
		"without ce_type": {
			sarama.ConsumerMessage{Headers: headers("ce_specversion", "1.0", "ce_id", "7d4a#1", "ce_source", "/orders")},
			expected{foreign: true, extensions: map[string]any{"kafkaheadercespecversion": "1.0", "kafkaheaderceid": "7d4a#1", "kafkaheadercesource": "/orders"}},
		},
		"without ce_source": {
			sarama.ConsumerMessage{Headers: headers("ce_specversion", "1.0", "ce_id", "7d4a#1", "ce_type", "order.created")},
			expected{foreign: true, extensions: map[string]any{"kafkaheadercespecversion": "1.0", "kafkaheaderceid": "7d4a#1", "kafkaheadercetype": "order.created"}},
		},
		"without ce_specversion": {
			sarama.ConsumerMessage{Headers: headers("ce_id", "7d4a#1", "ce_type", "order.created", "ce_source", "/orders")},
			expected{foreign: true, extensions: map[string]any{"kafkaheaderceid": "7d4a#1", "kafkaheadercetype": "order.created", "kafkaheadercesource": "/orders"}},
		},
		"no headers at all": {
			sarama.ConsumerMessage{Key: []byte("k"), Value: []byte("plain")},
			expected{foreign: true, data: "plain", extensions: map[string]any{"key": "k", "partitionkey": "k"}},
		},
		"other headers": {
			sarama.ConsumerMessage{Key: []byte("k"), Value: []byte("a,b"), Headers: headers("content-type", "text/csv", "X-Trace_Id", "7", "---", "nameless")},
			expected{foreign: true, mediaType: "text/csv", data: "a,b", extensions: map[string]any{"key": "k", "partitionkey": "k", "kafkaheaderxtraceid": "7"}},
		},
		"nothing but its place": {sarama.ConsumerMessage{}, expected{foreign: true}},
	} {
		t.Run(name, func(t *testing.T) {
			c.record.Topic, c.record.Partition, c.record.Offset = "order.created", 3, 17

			e := kafka.Decode(&c.record, "shop", "reserve-stock-order-created")

			if c.want.foreign {
				assert.Equal(t, kafka.ForeignType, e.Type())
				assert.Equal(t, "/apis/v1/namespaces/shop/kafkasources/reserve-stock-order-created#order.created", e.Source())
				assert.Equal(t, "partition:3#17", e.Subject())
				assert.Equal(t, "partition:3/offset:17", e.ID())
			} else {
				assert.Equal(t, "order.created", e.Type())
				assert.Equal(t, "/orders", e.Source())
				assert.Equal(t, "7d4a#1", e.ID())
			}
			require.NoError(t, e.Validate())
			assert.Equal(t, c.want.mediaType, e.DataContentType())
			assert.Equal(t, c.want.data, string(e.Data()))
			want := map[string]any{"knativekafkapartition": "3", "knativekafkaoffset": "17"}
			maps.Copy(want, c.want.extensions)
			assert.Equal(t, want, e.Extensions())
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("k"), []byte(`{}`), "content-type", []byte("application/cloudevents+json"), "ce_id", []byte("1"), true)
	f.Add([]byte(nil), []byte(`{"specversion":"1.0","id":"1","type":"t","source":"/s","data_base64":"!"}`), "content-type", []byte("application/cloudevents+json"), "", []byte(nil), false)
	f.Add([]byte(nil), []byte(`{"data_base64":1,"specversion":"1.0"}`), "content-type", []byte("application/cloudevents+json"), "", []byte(nil), false)
	f.Add([]byte{0xff}, []byte(`[]`), "content-type", []byte("application/cloudevents-batch+json"), "ce_time", []byte("yesterday"), true)
	f.Add([]byte{}, []byte(nil), "ce_Bad-Name", []byte{0}, "ce_source", []byte("%zz"), true)
	f.Fuzz(func(t *testing.T, key, value []byte, name1 string, value1 []byte, name2 string, value2 []byte, cloudEvent bool) {
		record := &sarama.ConsumerMessage{Topic: "order.created", Key: key, Value: value}
		if cloudEvent {
			record.Headers = headers("ce_specversion", "1.0", "ce_id", "1", "ce_type", "order.created", "ce_source", "/orders")
		}
		record.Headers = append(record.Headers, &sarama.RecordHeader{Key: []byte(name1), Value: value1}, &sarama.RecordHeader{Key: []byte(name2), Value: value2})
		e := kafka.Decode(record, "shop", "source")
		if e.Type() == "" || e.ID() == "" || e.Source() == "" {
			t.Fatalf("an event without identity: %v", e)
		}
	})
}
