package contract

import (
	"fmt"
	"testing"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/assert"

	"example.com/orders/functions/internal/messaging/registry"
)

// arrived is an event as a function sees it.
type arrived struct {
	id, eventType, source, subject, contentType, schema, data string
	extensions                                                map[string]string
}

func TestARecordArrivesAsKnativeMapsIt(t *testing.T) {
	t.Parallel()
	null := record("k", "", "x", "y")
	null.Value = nil
	records := map[string]struct {
		record *sarama.ProducerMessage
		want   arrived
	}{
		"a CloudEvent loses its key and its other headers": {
			record("another key", `{"a":1}`, "ce_specversion", "1.0", "ce_id", "1", "ce_type", "t", "ce_source", "/s", "ce_subject", "o",
				"ce_dataschema", "https://example.com/s", "ce_partitionkey", "o", "ce_correlationid", "flow", "content-type", "application/json", "x-trace", "lost"),
			arrived{"1", "t", "/s", "o", "application/json", "https://example.com/s", `{"a":1}`, map[string]string{"partitionkey": "o", "correlationid": "flow"}},
		},
		"a CloudEvent without a content type": {
			record("o", "plain", "ce_specversion", "1.0", "ce_id", "1", "ce_type", "t", "ce_source", "/s"),
			arrived{id: "1", eventType: "t", source: "/s", data: "plain"},
		},
		"a CloudEvent whose attributes HTTP headers encode": {
			record("o", "{}", "ce_specversion", "1.0", "ce_id", "a b", "ce_type", `the "type"`, "ce_source", "/s", "ce_subject", "50% off, 100%", "content-type", "application/json"),
			arrived{id: "a b", eventType: `the "type"`, source: "/s", subject: "50% off, 100%", contentType: "application/json", data: "{}"},
		},
		"a CloudEvent in structured mode": {
			record("o", `{"specversion":"1.0","id":"1","type":"t","source":"/s","stage":"x","datacontenttype":"application/json","data":{"a":1}}`,
				"content-type", "application/cloudevents+json; charset=UTF-8"),
			arrived{id: "1", eventType: "t", source: "/s", contentType: "application/json", data: `{"a":1}`, extensions: map[string]string{"stage": "x"}},
		},
		"a CloudEvent whose data is not text, as in Avro": {
			record("o", "\x00\x00\x00\x00\x07\xff\x80\r\n\x00", "ce_specversion", "1.0", "ce_id", "1", "ce_type", "t", "ce_source", "/s",
				"ce_dataschema", "https://example.com/s", "content-type", registry.MediaType),
			arrived{id: "1", eventType: "t", source: "/s", contentType: registry.MediaType, schema: "https://example.com/s", data: "\x00\x00\x00\x00\x07\xff\x80\r\n\x00"},
		},
		"the same in structured mode": {
			record("o", `{"specversion":"1.0","id":"1","type":"t","source":"/s","datacontenttype":"`+registry.MediaType+`","data_base64":"AAAAAAf/gA0KAA=="}`,
				"content-type", "application/cloudevents+json"),
			arrived{id: "1", eventType: "t", source: "/s", contentType: registry.MediaType, data: "\x00\x00\x00\x00\x07\xff\x80\r\n\x00"},
		},
		"no CloudEvent": {
			record("k", "text", "X-Trace-Id", "7", "content-type", "text/plain"),
			arrived{contentType: "text/plain", data: "text", extensions: map[string]string{"key": "k", "partitionkey": "k", "kafkaheaderxtraceid": "7"}},
		},
		"nothing but a value":         {record("", "text"), arrived{data: "text"}},
		"no value, and no CloudEvent": {null, arrived{extensions: map[string]string{"key": "k", "partitionkey": "k", "kafkaheaderx": "y"}}},
		"no id": {
			record("k", "{}", "ce_specversion", "1.0", "ce_type", "t", "ce_source", "/s"),
			arrived{data: "{}", extensions: map[string]string{"key": "k", "partitionkey": "k",
				"kafkaheadercespecversion": "1.0", "kafkaheadercetype": "t", "kafkaheadercesource": "/s"}},
		},
	}
	for name, each := range records {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onEach(t, func(t *testing.T, s source, b *bench) {
				t.Helper()
				f := newFunction(nil)
				sent := *each.record // producing writes into the message
				b.send(t, &sent)
				s.start(t, b, f)

				e := f.awaitAttempts(t, 1)[0].event
				want := each.want
				if want.id == "" {
					want.id, want.subject, want.eventType = "partition:0/offset:0", "partition:0#0", "dev.knative.kafka.event"
					want.source = "/apis/v1/namespaces/orders/kafkasources/reserve-stock.order.created#" + b.topic
				}
				got := arrived{e.ID(), e.Type(), e.Source(), e.Subject(), e.DataContentType(), e.DataSchema(), string(e.Data()), map[string]string{}}
				for name, value := range e.Extensions() {
					got.extensions[name] = fmt.Sprint(value)
				}
				extensions := map[string]string{"consumer": "reserve-stock", "knativekafkapartition": "0", "knativekafkaoffset": "0"}
				for name, value := range want.extensions {
					extensions[name] = value
				}
				want.extensions = extensions
				assert.Equal(t, want, got)
			})
		})
	}
}
