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
	any                   bool // its payload need not be JSON
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
			Messages map[string]struct{ Payload map[string]any }
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
			payload := parts.Components.Messages[id].Payload
			d.channels[c.Address] = append(d.channels[c.Address], message{
				id, compile(m.Ref + "/headers"), compile(m.Ref + "/payload"), compile(m.Ref + "/bindings/kafka/key"),
				payload["$ref"] == nil && payload["type"] == nil,
			})
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
