// Package asyncapitest compares records with an AsyncAPI document. What goes in is the text of a document, and records; what
// comes out is the message of the document that each record is, or why it is none.
package asyncapitest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/IBM/sarama"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"example.com/orders/events/avro"
	"example.com/orders/functions/internal/messaging/registry"
)

// at is the name of the document for the compiler of schemas.
const at = "file:///asyncapi.json"

// Document is a document whose schemas are compiled.
type Document struct {
	channels map[string][]message // by address
}

// message is a message of a channel.
type message struct {
	id                    string
	headers, payload, key *jsonschema.Schema
	avro                  *avro.Reader // of a payload in Avro
	any                   bool         // its payload need not be JSON
}

// Read compiles a document in YAML or JSON.
func Read(t testing.TB, text []byte) Document {
	t.Helper()
	asJSON, err := yaml.YAMLToJSONStrict(text)
	require.NoError(t, err)
	whole, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	require.NoError(t, err)
	var parts struct {
		Channels map[string]struct {
			Address  string
			Messages map[string]struct {
				Ref string `json:"$ref"`
			}
		}
		Components struct {
			Messages map[string]struct {
				Name    string
				Payload map[string]any
			}
			Schemas map[string]struct {
				SchemaFormat string
				Schema       json.RawMessage
			}
		}
	}
	require.NoError(t, json.Unmarshal(asJSON, &parts))
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft7) // that of AsyncAPI's own schemas
	compiler.AssertFormat()
	require.NoError(t, compiler.AddResource(at, whole))
	compile := func(pointer string) *jsonschema.Schema {
		schema, err := compiler.Compile(at + pointer)
		require.NoError(t, err)
		return schema
	}
	d := Document{map[string][]message{}}
	for _, c := range parts.Channels {
		for id, m := range c.Messages {
			kind := message{id: id, headers: compile(m.Ref + "/headers"), key: compile(m.Ref + "/bindings/kafka/key")}
			described := parts.Components.Messages[id]
			reference, _ := described.Payload["$ref"].(string)
			if schema := parts.Components.Schemas[strings.TrimPrefix(reference, "#/components/schemas/")]; schema.SchemaFormat != "" {
				kind.avro, err = avro.NewReader(described.Name, string(schema.Schema))
				require.NoError(t, err)
			} else {
				kind.payload = compile(m.Ref + "/payload")
				kind.any = reference == "" && described.Payload["type"] == nil
			}
			d.channels[c.Address] = append(d.channels[c.Address], kind)
		}
		slices.SortFunc(d.channels[c.Address], func(a, b message) int { return strings.Compare(a.id, b.id) })
	}
	return d
}

// Topics lists the topics of the document.
func (d Document) Topics() (topics []string) {
	for address := range d.channels {
		topics = append(topics, address)
	}
	slices.Sort(topics)
	return topics
}

// Messages lists the messages of a topic.
func (d Document) Messages(topic string) (ids []string) {
	for _, m := range d.channels[topic] {
		ids = append(ids, m.id)
	}
	return ids
}

// Message returns the message that a record is: the one whose headers, key and payload allow it. If one for any bytes allows
// it as well, it is the other one. It fails if there is none, and says what each message does not allow.
func (d Document) Message(r *sarama.ConsumerMessage) (string, error) {
	messages, known := d.channels[r.Topic]
	if !known {
		return "", fmt.Errorf("the topic %s is not described", r.Topic)
	}
	headers, err := headersOf(r)
	if err != nil {
		return "", err
	}
	var found, loose []string
	var refused []error
	for _, m := range messages {
		err := m.check(headers, r)
		switch {
		case err != nil:
			refused = append(refused, fmt.Errorf("it is no %s: %w", m.id, err))
		case m.any:
			loose = append(loose, m.id)
		default:
			found = append(found, m.id)
		}
	}
	if len(found) == 0 {
		found = loose
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("no message of %s allows the record %d/%d: %w", r.Topic, r.Partition, r.Offset, errors.Join(refused...))
	case 1:
		return found[0], nil
	default:
		return "", fmt.Errorf("the record %s/%d/%d is several messages: %s", r.Topic, r.Partition, r.Offset, strings.Join(found, ", "))
	}
}

func headersOf(r *sarama.ConsumerMessage) (map[string]any, error) {
	headers := map[string]any{}
	for _, h := range r.Headers {
		name := string(h.Key)
		if _, twice := headers[name]; twice {
			return nil, fmt.Errorf("the record %s/%d/%d has the header %s twice", r.Topic, r.Partition, r.Offset, name)
		}
		headers[name] = string(h.Value)
	}
	return headers, nil
}

func (m message) check(headers map[string]any, r *sarama.ConsumerMessage) error {
	if err := m.headers.Validate(headers); err != nil {
		return fmt.Errorf("headers: %w", err)
	}
	if r.Key != nil || !m.any {
		if err := m.key.Validate(string(r.Key)); err != nil {
			return fmt.Errorf("key: %w", err)
		}
	}
	if m.avro != nil {
		_, err := m.json(r)
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(r.Value))
	if err != nil && m.any {
		return nil
	}
	if err != nil {
		return fmt.Errorf("value: %w", err)
	}
	if err := m.payload.Validate(value); err != nil {
		return fmt.Errorf("value: %w", err)
	}
	return nil
}

// JSON returns the value of a record as JSON: that of a message in Avro by the schema of the message.
func (d Document) JSON(r *sarama.ConsumerMessage, id string) ([]byte, error) {
	for _, m := range d.channels[r.Topic] {
		if m.id == id && m.avro != nil {
			return m.json(r)
		}
	}
	return r.Value, nil
}

// headerSize is the size of what stands before data in Avro, in bytes: a zero and the id of the schema.
const headerSize = 5

func (m message) json(r *sarama.ConsumerMessage) ([]byte, error) {
	if len(r.Value) < headerSize || r.Value[0] != 0 {
		return nil, errors.New("value: it does not begin with a zero and the id of a schema")
	}
	text, err := m.avro.JSON(r.Value[headerSize:])
	if err != nil {
		return nil, fmt.Errorf("value: %w", err)
	}
	return text, nil
}

// InAvro returns a record of an event in JSON with its data in Avro, and an id that no registry gave.
func InAvro(t testing.TB, eventType string, inJSON *sarama.ProducerMessage) *sarama.ProducerMessage {
	t.Helper()
	text, err := inJSON.Value.Encode()
	require.NoError(t, err)
	_, data, err := avro.Encode(eventType, text)
	require.NoError(t, err)
	m := &sarama.ProducerMessage{Topic: inJSON.Topic, Key: inJSON.Key, Value: sarama.ByteEncoder(slices.Concat([]byte{0, 0x7f, 0, 0, 1}, data))}
	for _, h := range inJSON.Headers {
		if string(h.Key) == "content-type" {
			h.Value = []byte(registry.MediaType)
		}
		m.Headers = append(m.Headers, h)
	}
	return m
}
