// Package asyncapi describes the events in Kafka as an AsyncAPI 3 document: topics, messages with their headers and keys,
// dead letters, and what each function sends and receives. It is made of the wiring, the contracts of the events and their
// JSON Schemas.
package asyncapi

import (
	"encoding/json"

	"sigs.k8s.io/yaml"
)

// Document is an AsyncAPI document. The fields are those of the specification, as far as they are used; the names with x-
// are this project's.
type Document struct {
	AsyncAPI           string               `json:"asyncapi"`
	Info               Info                 `json:"info"`
	DefaultContentType string               `json:"defaultContentType"`
	Servers            map[string]Server    `json:"servers"`
	Channels           map[string]Channel   `json:"channels"`
	Operations         map[string]Operation `json:"operations"`
	Components         Components           `json:"components"`
}

// Info is about the document.
type Info struct {
	Title       string  `json:"title"`
	Version     string  `json:"version"`
	Description string  `json:"description"`
	License     License `json:"license"`
	Tags        []Tag   `json:"tags"`
}

// License is that of the description.
type License struct {
	Name string `json:"name"`
	URL  string `json:"url"`
}

// Server is a broker.
type Server struct {
	Host        string              `json:"host"`
	Protocol    string              `json:"protocol"`
	Description string              `json:"description"`
	Variables   map[string]Variable `json:"variables,omitempty"`
}

// Variable is a part of a server's address that belongs to a deployment.
type Variable struct {
	Default     string `json:"default"`
	Description string `json:"description"`
}

// Channel is a topic.
type Channel struct {
	Address     string               `json:"address"`
	Title       string               `json:"title"`
	Description string               `json:"description"`
	Messages    map[string]Reference `json:"messages"`
	Tags        []Tag                `json:"tags,omitempty"`
	Bindings    ChannelBindings      `json:"bindings"`
}

// ChannelBindings has what only Kafka's topics have.
type ChannelBindings struct {
	Kafka TopicBinding `json:"kafka"`
}

// TopicBinding is how a topic is made.
type TopicBinding struct {
	Topic         string         `json:"topic"`
	Partitions    int32          `json:"partitions"`
	Replicas      int16          `json:"replicas"`
	Configuration map[string]any `json:"topicConfiguration,omitempty"`
	Version       string         `json:"bindingVersion"`
}

// Operation is what a function does with a topic.
type Operation struct {
	Action      string             `json:"action"` // Send or Receive
	Channel     Reference          `json:"channel"`
	Title       string             `json:"title"`
	Summary     string             `json:"summary"`
	Tags        []Tag              `json:"tags,omitempty"`
	Bindings    *OperationBindings `json:"bindings,omitempty"`
	Messages    []Reference        `json:"messages"`
	Function    string             `json:"x-function"` // the name of its Service
	Relay       string             `json:"x-relay,omitempty"`
	Delivery    *Delivery          `json:"x-delivery,omitempty"`
	DeadLetters bool               `json:"x-dead-letters,omitempty"`
}

// The actions of operations.
const (
	Send    = "send"
	Receive = "receive"
)

// OperationBindings has what only consumers of Kafka have.
type OperationBindings struct {
	Kafka GroupBinding `json:"kafka"`
}

// GroupBinding is the consumer group.
type GroupBinding struct {
	Group   map[string]any `json:"groupId"` // a schema
	Version string         `json:"bindingVersion"`
}

// Delivery is how a KafkaSource delivers the events of a topic to a function.
type Delivery struct {
	Group       string `json:"group"`
	Consumers   int    `json:"consumers"`
	Ordered     bool   `json:"ordered"`
	Retry       int    `json:"retry"`   // attempts after the first one
	Backoff     string `json:"backoff"` // exponential or linear
	DelayMillis int64  `json:"delayMillis"`
	// TimeoutMillis bounds one attempt.
	TimeoutMillis int64 `json:"timeoutMillis"`
	// DeadLetters is the channel of what could not be handled.
	DeadLetters Reference `json:"deadLetters"`
}

// Components has what is referred to.
type Components struct {
	Messages map[string]Message `json:"messages"`
	Schemas  map[string]any     `json:"schemas"`
}

// Message is a kind of record.
type Message struct {
	Name          string          `json:"name"`
	Title         string          `json:"title"`
	Summary       string          `json:"summary"`
	ContentType   string          `json:"contentType,omitempty"`
	CorrelationID *CorrelationID  `json:"correlationId,omitempty"`
	Headers       any             `json:"headers"` // a schema
	Payload       any             `json:"payload"` // a schema
	Tags          []Tag           `json:"tags,omitempty"`
	Bindings      MessageBindings `json:"bindings"`
	Examples      []Example       `json:"examples,omitempty"`
	Contract      *Contract       `json:"x-contract,omitempty"`
}

// Contract is the version of an event that a message has.
type Contract struct {
	Version int    `json:"version"`
	Source  string `json:"source"`
	Newest  bool   `json:"newest"`
}

// CorrelationID says where the id of the flow is.
type CorrelationID struct {
	Description string `json:"description"`
	Location    string `json:"location"`
}

// MessageBindings has what only Kafka's records have.
type MessageBindings struct {
	Kafka KeyBinding `json:"kafka"`
}

// KeyBinding is the key of a record, and where a registry has the schema of its data.
type KeyBinding struct {
	Key     any    `json:"key"` // a schema
	Version string `json:"bindingVersion"`
	// Where the id of the data's schema is, how, and by what name the registry has the schema.
	IDLocation string `json:"schemaIdLocation,omitempty"`
	IDEncoding string `json:"schemaIdPayloadEncoding,omitempty"`
	Lookup     string `json:"schemaLookupStrategy,omitempty"`
}

// Example is a record.
type Example struct {
	Name    string            `json:"name"`
	Headers map[string]string `json:"headers"`
	Payload json.RawMessage   `json:"payload"`
}

// Tag groups what belongs together.
type Tag struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
}

// Reference leads to another place of the document.
type Reference struct {
	Ref string `json:"$ref"`
}

// bindingVersion is the version of the Kafka bindings of AsyncAPI.
const bindingVersion = "0.5.0"

// generated begins the files that are written from the code.
const generated = "# Code generated by harness asyncapi; DO NOT EDIT. make generate writes it again.\n"

// YAML returns the document as a file.
func (d Document) YAML() ([]byte, error) {
	text, err := yaml.Marshal(d)
	if err != nil {
		return nil, err
	}
	return append([]byte(generated), text...), nil
}
