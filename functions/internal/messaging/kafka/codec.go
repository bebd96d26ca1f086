package kafka

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/protocol/kafka_sarama/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/functions/internal/web/httpbinding"
)

// contentType is the header with the media type of an event's data.
const contentType = "content-type"

// Encode returns the record of an event, in the binary mode of the Kafka binding of CloudEvents: the value is exactly the
// event's data, the attributes are headers, the key is the extension partitionkey, and the topic has the name of the event's
// type. It fails for an event that violates CloudEvents, since no consumer could decode it.
func Encode(ctx context.Context, e event.Event) (*sarama.ProducerMessage, error) {
	if err := e.Validate(); err != nil {
		return nil, fmt.Errorf("encode event %q: %w", e.ID(), err)
	}
	m := &sarama.ProducerMessage{Topic: e.Type()}
	if err := kafka_sarama.WriteProducerMessage(ctx, outgoing{(*binding.EventMessage)(&e), m}, m); err != nil {
		return nil, fmt.Errorf("encode event %s: %w", e.ID(), err)
	}
	return m, nil
}

// outgoing is an event that is written in binary mode, into a record with room for its headers.
type outgoing struct {
	*binding.EventMessage

	record *sarama.ProducerMessage
}

// attributes is how many attributes CloudEvents has, the optional ones included.
const attributes = 8

func (outgoing) ReadEncoding() binding.Encoding { return binding.EncodingBinary }

func (o outgoing) ReadStructured(context.Context, binding.StructuredWriter) error {
	return binding.ErrNotStructured
}

func (o outgoing) ReadBinary(ctx context.Context, w binding.BinaryWriter) error {
	o.record.Headers = make([]sarama.RecordHeader, 0, attributes+len(events.Extensions(event.Event(*o.EventMessage))))
	return o.EventMessage.ReadBinary(ctx, w)
}

// ForeignType is the type that Knative gives to a record that is not a CloudEvent.
const ForeignType = "dev.knative.kafka.event"

// Decode returns the event of a record as Knative's KafkaSource namespace/name does: a CloudEvent keeps its attributes; any
// other record becomes an event of ForeignType, with the record's position as its id. Both have the extensions
// knativekafkapartition and knativekafkaoffset.
func Decode(m *sarama.ConsumerMessage, namespace, name string) event.Event {
	e, ok := decodeCloudEvent(m)
	if !ok {
		e = foreign(m, namespace, name)
	}
	e.SetExtension("knativekafkapartition", strconv.Itoa(int(m.Partition)))
	e.SetExtension("knativekafkaoffset", strconv.FormatInt(m.Offset, 10))
	return e
}

// usualNames has the names of the headers that facts have.
var usualNames = map[string]string{
	contentType: contentType,
	"ce_id":     "ce_id", "ce_source": "ce_source", "ce_specversion": "ce_specversion", "ce_type": "ce_type",
	"ce_dataschema": "ce_dataschema", "ce_subject": "ce_subject", "ce_time": "ce_time",
	"ce_partitionkey": "ce_partitionkey", "ce_correlationid": "ce_correlationid", "ce_causationid": "ce_causationid",
	"ce_traceparent": "ce_traceparent", "ce_tracestate": "ce_tracestate",
}

func decodeCloudEvent(m *sarama.ConsumerMessage) (event.Event, bool) {
	// NewMessageFromConsumerMessage would add the record's position, for which KafkaSource has other names.
	headers := make(map[string][]byte, len(m.Headers))
	for _, h := range m.Headers {
		name, usual := usualNames[string(h.Key)] // without an allocation
		if !usual {
			name = strings.ToLower(string(h.Key))
		}
		headers[name] = h.Value
	}
	message := kafka_sarama.NewMessage(m.Value, string(headers[contentType]), headers)
	encoding := message.ReadEncoding()
	if encoding == binding.EncodingUnknown {
		return event.Event{}, false
	}
	if encoding == binding.EncodingStructured { // the SDK panics over some records
		e, err := httpbinding.Structured(m.Value)
		return e, err == nil
	}
	e, err := binding.ToEvent(context.Background(), message)
	if err != nil || e.Validate() != nil {
		return event.Event{}, false
	}
	return *e, true
}

func foreign(m *sarama.ConsumerMessage, namespace, name string) event.Event {
	e := event.New()
	e.SetType(ForeignType)
	e.SetSource("/apis/v1/namespaces/" + namespace + "/kafkasources/" + name + "#" + m.Topic)
	e.SetSubject(fmt.Sprintf("partition:%d#%d", m.Partition, m.Offset))
	e.SetID(fmt.Sprintf("partition:%d/offset:%d", m.Partition, m.Offset))
	if !m.Timestamp.IsZero() {
		e.SetTime(m.Timestamp)
	}
	if m.Key != nil {
		e.SetExtension("key", string(m.Key))
		e.SetExtension("partitionkey", string(m.Key))
	}
	for _, h := range m.Headers {
		key := strings.ToLower(string(h.Key))
		if key == contentType {
			e.SetDataContentType(string(h.Value))
			continue
		}
		if suffix := alphanumeric(key); suffix != "" {
			e.SetExtension("kafkaheader"+suffix, string(h.Value))
		}
	}
	if m.Value != nil {
		e.DataEncoded = m.Value
	}
	return e
}

// alphanumeric drops the characters of a header's name that the name of a CloudEvents extension may not have.
func alphanumeric(name string) string {
	return strings.Map(func(r rune) rune {
		if (r >= 'a' && r <= 'z') || (r >= '0' && r <= '9') {
			return r
		}
		return -1
	}, name)
}
