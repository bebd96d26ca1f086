package asyncapi

import (
	"encoding/json"
	"fmt"
	"io/fs"

	"example.com/orders/events"
	"example.com/orders/events/avro"
	"example.com/orders/functions/internal/messaging/registry"
)

// formatted is a schema that is not one of JSON: AsyncAPI's Multi Format Schema Object.
type formatted struct {
	Format string          `json:"schemaFormat"`
	Schema json.RawMessage `json:"schema"`
}

const avroFormat = "application/vnd.apache.avro+json;version=1.9.0"

func avroID(c events.Contract) string { return messageID(c) + ".avro" }

// inAvro describes the records of a version of an event whose data is in Avro, by those in JSON, and keeps their schema.
func (b *builder) inAvro(c events.Contract, m Message) (Message, error) {
	schema, err := fs.ReadFile(b.Avro, avro.File(c))
	if err != nil {
		return Message{}, fmt.Errorf("read the Avro schema of %s, which go test ./events/avro -run Generated -update writes: %w", messageID(c), err)
	}
	m.Title, m.Summary = m.Title+", in Avro", "The same in Avro: relays write it with EVENT_FORMAT=avro."
	b.document.Components.Schemas[avroID(c)] = formatted{avroFormat, schema}
	m.ContentType, m.Payload = registry.MediaType, Reference{"#/components/schemas/" + avroID(c)}
	m.Headers = narrowed(eventHeaders, attributesOf(c, registry.MediaType))
	m.Bindings.Kafka.IDLocation, m.Bindings.Kafka.IDEncoding, m.Bindings.Kafka.Lookup = "payload", "confluent", "TopicNameStrategy"
	m.Examples, m.Contract = nil, nil
	return m, nil
}
