package asyncapi

import (
	"slices"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/messaging/registry"
)

const applicationJSON = event.ApplicationJSON

// The names of headers that are described by more than their own schema.
const (
	headerConsumer = kafka.HeaderConsumer
	headerTopic    = kafka.HeaderTopic
)

// The schemas of headers: of events, of dead letters that the harness writes, and of those that Knative writes.
const (
	eventHeaders   = "eventHeaders"
	letterHeaders  = "letterHeaders"
	knativeHeaders = "knativeLetterHeaders"
)

// unreadableID is the message of records that became dead letters without being an event of their topic.
const unreadableID = "unreadable.deadletter"

const orderIDPattern = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"

type schema = map[string]any

// header is a header of a record; its value is text.
type header struct {
	name     string
	optional bool
	schema   schema
}

func text(description string, more schema) schema {
	s := schema{"type": "string", "description": description}
	for keyword, value := range more {
		s[keyword] = value
	}
	return s
}

var orderID = schema{"pattern": "^" + orderIDPattern + "$"}

// attributes are the headers of every event.
var attributes = []header{
	{"content-type", false, text("The media type of the value.", schema{"enum": []any{applicationJSON, registry.MediaType}})},
	{"ce_specversion", false, text("The version of CloudEvents.", schema{"const": "1.0"})},
	{"ce_id", false, text("{orderId}#{n}: n counts the facts of the source about this order, from 1.",
		schema{"pattern": "^" + orderIDPattern + "#[1-9][0-9]*$", "maxLength": events.MaxEventID})},
	{"ce_source", false, text("The service that emits the event; with ce_id it identifies the event.", schema{"format": "uri-reference"})},
	{"ce_type", false, text("The type of the event, which is the name of its topic.", nil)},
	{"ce_subject", false, text("The id of the order.", orderID)},
	{"ce_time", false, text("When the fact happened, UTC.", schema{"format": "date-time"})},
	{"ce_dataschema", false, text("The JSON Schema of the value. The harness serves it under this path.", schema{"format": "uri"})},
	{"ce_partitionkey", false, text("The key of the record: the id of the order.", orderID)},
	{"ce_correlationid", true, text("The flow that the event belongs to.", schema{"pattern": "^[!-~]{1,128}$"})},
	{"ce_causationid", true, text("The id of the event or request that caused this one.", schema{"pattern": "^[!-~]{1,128}$"})},
	{"ce_traceparent", true, text("W3C trace context.", schema{"pattern": "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"})},
	{"ce_tracestate", true, text("W3C trace context.", schema{"pattern": "^[ -~]{1,512}$"})},
}

const number = "^[0-9]+$"

// failure are the headers that the harness adds to a dead letter.
var failure = []header{
	{headerConsumer, false, text("The function that could not handle the record.", nil)},
	{headerTopic, false, text("The topic of the record.", nil)},
	{kafka.HeaderPartition, false, text("The partition of the record.", schema{"pattern": number})},
	{kafka.HeaderOffset, false, text("The offset of the record.", schema{"pattern": number})},
	{kafka.HeaderAttempts, false, text("The deliveries, the first included.", schema{"pattern": "^[1-9][0-9]*$"})},
	{kafka.HeaderError, false, text("The error of the last delivery, on one line.", schema{"maxLength": 500, "pattern": `^[^\r\n]*$`})},
	{kafka.HeaderTime, false, text("When it was set aside, UTC.", schema{"format": "date-time"})},
	{kafka.HeaderStatus, false, text("The HTTP status of the last delivery.", schema{"pattern": number})},
}

// cut is on a dead letter that does not have all of its record.
var cut = header{kafka.HeaderCut, true, text("How much of the record is missing: it was too large for the topic.", nil)}

// knatives are the headers that Knative's KafkaSource adds to a dead letter.
var knatives = []header{
	{headerConsumer, false, text("The function that could not handle the event.", nil)},
	{kafka.HeaderStatus, true, text("The HTTP status of the last delivery, if it was answered.", schema{"pattern": number})},
	{"ce_knativeerrordest", false, text("The URL of the function.", schema{"format": "uri-reference"})},
	{"ce_knativeerrordata", true, text("The first 1024 bytes of the last answer, in base64, if it had any.", nil)},
	{"ce_knativekafkapartition", false, text("The partition of the record.", schema{"pattern": number})},
	{"ce_knativekafkaoffset", false, text("The offset of the record.", schema{"pattern": number})},
}

// sharedSchemas has the schemas of the headers. They allow no other header.
func sharedSchemas() map[string]any {
	return map[string]any{
		eventHeaders:   closed("The attributes of a CloudEvent.", attributes),
		letterHeaders:  closed("The attributes of the event that was set aside, and how it failed.", slices.Concat(attributes, failure)),
		knativeHeaders: closed("The attributes of the event that was set aside, and what Knative says about its failure.", slices.Concat(attributes, knatives)),
	}
}

func object(description string, headers []header) schema {
	properties, required := schema{}, []string{}
	for _, h := range headers {
		properties[h.name] = h.schema
		if !h.optional {
			required = append(required, h.name)
		}
	}
	return schema{"type": "object", "description": description, "properties": properties, "required": required}
}

func closed(description string, headers []header) schema {
	s := object(description, headers)
	s["additionalProperties"] = false
	return s
}

// narrowed are the headers of a shared schema, some of which have fixed values.
func narrowed(shared string, fixed ...schema) schema {
	properties := schema{}
	for _, f := range fixed {
		for name, value := range f {
			properties[name] = value
		}
	}
	return schema{"type": "object", "allOf": []any{Reference{"#/components/schemas/" + shared}, schema{"properties": properties}}}
}

func only(name, value string) schema { return schema{name: schema{"const": value}} }

func oneOf(name string, values []any) schema { return schema{name: schema{"enum": values}} }

// attributesOf are the attributes that all events of a version have whose data is in a format.
func attributesOf(c events.Contract, format string) schema {
	return schema{"content-type": schema{"const": format}, "ce_type": schema{"const": c.Type}, "ce_source": schema{"const": c.Source}, "ce_dataschema": schema{"const": c.URI}}
}

func keyed() MessageBindings {
	return MessageBindings{KeyBinding{Key: text("The id of the order.", orderID), Version: bindingVersion}}
}

// unreadable describes dead letters of records that are no event of their topic, or whose record was too large.
func unreadable() Message {
	headers := object("How the record failed, and whatever headers it had.", append(slices.Clone(failure), cut))
	headers["required"] = []string{headerConsumer} // the one that Knative writes always
	headers["additionalProperties"] = true
	return Message{
		Name: "unreadable", Title: "a record that is no event of its topic, or not whole",
		Summary: "What anybody wrote into the topic, as it was, or the beginning of a record that was too large for the dead letters.",
		Headers: headers, Payload: schema{"description": "Any bytes."},
		Bindings: MessageBindings{KeyBinding{Key: schema{"type": "string", "description": "The key of the record, if it had one."}, Version: bindingVersion}},
	}
}

// exampleHeaders are the headers of an example.
func exampleHeaders(c events.Contract, orderID, at string) map[string]string {
	return map[string]string{
		"content-type": applicationJSON, "ce_specversion": "1.0", "ce_id": orderID + "#1", "ce_source": c.Source, "ce_type": c.Type,
		"ce_subject": orderID, "ce_time": at, "ce_dataschema": c.URI, "ce_partitionkey": orderID, "ce_correlationid": "my-flow.1",
	}
}
