package asyncapi

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"example.com/orders/events"
	"example.com/orders/events/avro"
	"example.com/orders/knative"
)

// Options is what a document is made of besides the wiring. The zero value means the contracts of package events, no prefix
// and brokers that a deployment names.
type Options struct {
	// Prefix is KAFKA_TOPIC_PREFIX, which the wiring has before its topics and groups. The channels are named without it.
	Prefix string
	// Brokers are the addresses of the brokers.
	Brokers []string
	// Base is the wiring without the overlay: what is not in it gets the overlay's tag.
	Base *knative.Wiring

	// Contracts, Schemas, Examples and the schemas for Avro are those of package events unless they are set, and Emits is what
	// this package knows.
	Contracts               []events.Contract
	Schemas, Examples, Avro fs.FS
	// Emits has the types that each function emits, by its folder.
	Emits map[string][]string
}

// builder makes a document.
type builder struct {
	Options

	wiring   *knative.Wiring
	document Document
	// deadLetters has the sources by the topic of their dead letters.
	deadLetters map[string][]knative.KafkaSource
}

// New describes a wiring. It fails if a topic has no contract, or a contract no readable schema or example.
func New(w *knative.Wiring, o Options) (Document, error) {
	if o.Contracts == nil {
		o.Contracts, o.Schemas, o.Examples, o.Avro = events.Contracts(), events.Schemas(), events.Examples(), avro.Files()
	}
	if o.Emits == nil {
		o.Emits = emits
	}
	b := builder{Options: o, wiring: w, deadLetters: map[string][]knative.KafkaSource{}}
	for _, source := range w.Sources {
		b.deadLetters[source.Delivery.DeadLetter] = append(b.deadLetters[source.Delivery.DeadLetter], source)
	}
	b.document = Document{
		AsyncAPI: "3.0.0", Info: info(w.Overlay), DefaultContentType: applicationJSON, Servers: servers(o.Brokers),
		Channels: map[string]Channel{}, Operations: map[string]Operation{},
		Components: Components{Messages: map[string]Message{}, Schemas: sharedSchemas()},
	}
	// Dead letters come last: their messages are made of those of the events.
	for _, letters := range []bool{false, true} {
		for _, topic := range w.Topics {
			if b.isOfLetters(topic) != letters {
				continue
			}
			if err := b.channel(topic); err != nil {
				return Document{}, fmt.Errorf("describe the topic %s: %w", topic.Name, err)
			}
		}
	}
	b.operations()
	return b.document, nil
}

func info(overlay string) Info {
	i := Info{
		Title: "orders", Version: "1.0.0",
		Description: "The events of the orders in Kafka. A record is a CloudEvent in the binary mode of the Kafka binding: the attributes " +
			"are headers, and the value is the data. Functions store events with their state and relays publish them, so an event " +
			"arrives at least once; source and id together identify it. Commands travel over HTTP: OpenAPI describes them.",
		License: License{"Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0"},
		Tags: []Tag{
			{"events", "a fact, one topic per type"},
			{"dead letters", "records that a function could not handle, and why"},
		},
	}
	if overlay != "" {
		i.Title += ", with the overlay " + overlay
		i.Tags = append(i.Tags, Tag{overlayTag(overlay), "only with this overlay"})
	}
	return i
}

func overlayTag(overlay string) string { return "overlay " + overlay }

func servers(brokers []string) map[string]Server {
	if len(brokers) == 0 {
		return map[string]Server{"kafka": {
			Host: "{broker}", Protocol: "kafka", Description: "The brokers of a deployment, one of which is enough to find the others.",
			Variables: map[string]Variable{"broker": {Default: "127.0.0.1:19092", Description: "One of KAFKA_BROKERS."}},
		}}
	}
	all := map[string]Server{}
	for n, broker := range brokers {
		all[fmt.Sprintf("kafka-%d", n+1)] = Server{Host: broker, Protocol: "kafka", Description: "A broker of this deployment."}
	}
	return all
}

func (b *builder) plain(name string) string { return strings.TrimPrefix(name, b.Prefix) }

// contracts lists the versions of the events of a type.
func (b *builder) contracts(eventType string) []events.Contract {
	return slices.DeleteFunc(slices.Clone(b.Contracts), func(c events.Contract) bool { return c.Type != eventType })
}

// overlaid returns the tag of the overlay unless the base has something, too.
func (b *builder) overlaid(inBase bool) []Tag {
	if b.Base == nil || b.wiring.Overlay == "" || inBase {
		return nil
	}
	return []Tag{{Name: overlayTag(b.wiring.Overlay)}}
}

func (b *builder) isOfLetters(topic knative.Topic) bool {
	return len(b.deadLetters[topic.Name]) > 0 || strings.HasSuffix(topic.Name, knative.DeadLetterSuffix)
}

// channel describes a topic and its messages.
func (b *builder) channel(topic knative.Topic) error {
	name := b.plain(topic.Name)
	c := Channel{Address: topic.Name, Messages: map[string]Reference{}}
	binding := TopicBinding{Topic: topic.Name, Partitions: topic.Partitions, Replicas: topic.Replicas, Version: bindingVersion}
	for setting, value := range topic.Config {
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || !slices.Contains([]string{"retention.ms", "retention.bytes", "delete.retention.ms", "max.message.bytes"}, setting) {
			return fmt.Errorf("the setting %s: %s has no place in AsyncAPI's bindings %s: add it to the description of topics", setting, value, bindingVersion)
		}
		if binding.Configuration == nil {
			binding.Configuration = map[string]any{}
		}
		binding.Configuration[setting] = n
	}
	c.Bindings.Kafka = binding
	var messages map[string]Message
	var err error
	if b.isOfLetters(topic) {
		c.Title, c.Tags = "dead letters of "+strings.TrimSuffix(name, knative.DeadLetterSuffix), []Tag{{Name: "dead letters"}}
		c.Description = "Records that a function could not handle, with headers that say which one and why. They wait for an operator."
		messages = b.letters(b.deadLetters[topic.Name])
	} else {
		c.Title, c.Tags = name, []Tag{{Name: "events"}}
		c.Description = "The events of the type " + name + ". Those of one order are in one partition, in order."
		messages, err = b.events(name)
	}
	if err != nil {
		return err
	}
	inBase := b.Base != nil && slices.ContainsFunc(b.Base.Topics, func(t knative.Topic) bool { return b.plain(t.Name) == name })
	c.Tags = append(c.Tags, b.overlaid(inBase)...)
	for id, m := range messages {
		c.Messages[id] = Reference{"#/components/messages/" + id}
		b.document.Components.Messages[id] = m
	}
	b.document.Channels[name] = c
	return nil
}

func messageID(c events.Contract) string { return fmt.Sprintf("%s.v%d", c.Type, c.Version) }

// events has the messages of a topic of events: for each version one in JSON and one in Avro.
func (b *builder) events(eventType string) (map[string]Message, error) {
	contracts := b.contracts(eventType)
	if len(contracts) == 0 {
		return nil, fmt.Errorf("no event has the type %s: add it to package events, or remove the topic", eventType)
	}
	all := map[string]Message{}
	for _, c := range contracts {
		m, err := b.event(c)
		if err != nil {
			return nil, err
		}
		all[messageID(c)] = m
		if all[avroID(c)], err = b.inAvro(c, m); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// event describes the records of one version of an event, and keeps its schema.
func (b *builder) event(c events.Contract) (Message, error) {
	content, err := fs.ReadFile(b.Schemas, c.File)
	if err != nil {
		return Message{}, fmt.Errorf("read the schema of %s: %w", messageID(c), err)
	}
	var data schema
	if err := json.Unmarshal(content, &data); err != nil {
		return Message{}, fmt.Errorf("decode the schema %s: %w", c.File, err)
	}
	// AsyncAPI's schemas are those of draft 7, of which the schemas use nothing that later drafts have changed.
	delete(data, "$schema")
	b.document.Components.Schemas[messageID(c)] = data
	title, _ := data["title"].(string)
	summary, _ := data["description"].(string)
	if !c.Newest {
		summary += " An older version: consumers read it as the newest one."
	}
	example, err := b.example(c)
	if err != nil {
		return Message{}, err
	}
	return Message{
		Name: c.Type, Title: title, Summary: summary, ContentType: applicationJSON,
		CorrelationID: &CorrelationID{"The flow that the event belongs to.", "$message.header#/ce_correlationid"},
		Headers:       narrowed(eventHeaders, attributesOf(c, applicationJSON)), Payload: Reference{"#/components/schemas/" + messageID(c)},
		Bindings: keyed(), Examples: []Example{example},
		Contract: &Contract{c.Version, c.Source, c.Newest},
	}, nil
}

// example is the record of an event's example.
func (b *builder) example(c events.Contract) (Example, error) {
	content, err := fs.ReadFile(b.Examples, c.File)
	if err != nil {
		return Example{}, fmt.Errorf("read the example of %s: %w", messageID(c), err)
	}
	var data struct{ OrderID, CreatedAt string }
	if err := json.Unmarshal(content, &data); err != nil {
		return Example{}, fmt.Errorf("decode the example %s: %w", c.File, err)
	}
	return Example{Name: messageID(c), Headers: exampleHeaders(c, data.OrderID, cmp.Or(data.CreatedAt, "2025-08-12T10:23:01Z")), Payload: content}, nil
}

// letters has the messages of a topic of dead letters: for each version of the events that sources set aside in it, in JSON and
// in Avro, one as the harness writes it and one as Knative does, and one for records that are no such event.
func (b *builder) letters(sources []knative.KafkaSource) map[string]Message {
	all := map[string]Message{unreadableID: unreadable()}
	for _, source := range sources {
		for _, c := range b.contracts(b.plain(source.Topic)) {
			consumers := make([]any, 0, len(sources))
			for _, s := range sources {
				if s.Topic == source.Topic {
					consumers = append(consumers, s.Sink)
				}
			}
			for _, id := range []string{messageID(c), avroID(c)} {
				m := b.document.Components.Messages[id]
				m.Examples, m.Contract = nil, nil
				ours, knatives := m, m
				ours.Title, ours.Summary = m.Title+", set aside by the harness", "The record as it was, with headers about the failure."
				ours.Headers = narrowed(letterHeaders, attributesOf(c, m.ContentType), oneOf(headerConsumer, consumers), only(headerTopic, source.Topic))
				knatives.Title, knatives.Summary = m.Title+", set aside by Knative", "The event as it was, with Knative's headers about the failure."
				knatives.Headers = narrowed(knativeHeaders, attributesOf(c, m.ContentType), oneOf(headerConsumer, consumers))
				all[id+".deadletter"], all[id+".deadletter.knative"] = ours, knatives
			}
		}
	}
	return all
}

// operations describes what the functions send and receive.
func (b *builder) operations() {
	for _, source := range b.wiring.Sources {
		b.receive(source)
	}
	for _, service := range b.wiring.Services {
		folders := append([]string{service.Function}, fronts[service.Function]...)
		for _, folder := range folders {
			for _, eventType := range b.Emits[folder] {
				if _, ok := b.document.Channels[eventType]; ok {
					b.send(service, eventType)
				}
			}
		}
	}
}

// messages refers to the messages of a channel, in order.
func (b *builder) messages(channel string, of func(id string) bool) (all []Reference) {
	for _, id := range slices.Sorted(maps.Keys(b.document.Channels[channel].Messages)) {
		if of(id) {
			all = append(all, Reference{"#/channels/" + channel + "/messages/" + id})
		}
	}
	return all
}

func (b *builder) receive(source knative.KafkaSource) {
	topic, letters := b.plain(source.Topic), b.plain(source.Delivery.DeadLetter)
	backoff := "linear"
	if source.Delivery.Exponential {
		backoff = "exponential"
	}
	inBase := b.Base != nil && slices.ContainsFunc(b.Base.Sources, func(s knative.KafkaSource) bool { return s.Name == source.Name })
	tags := append([]Tag{{Name: source.Sink}}, b.overlaid(inBase)...)
	b.document.Operations[source.Sink+".receive."+topic] = Operation{
		Action: Receive, Channel: Reference{"#/channels/" + topic}, Title: source.Sink + " receives " + topic,
		Summary: fmt.Sprintf("%s gets each %s until it acknowledges it, at most %d times; then it becomes a dead letter.", source.Sink, topic, source.Delivery.Retry+1),
		Tags:    tags, Function: source.Sink,
		Bindings: &OperationBindings{GroupBinding{map[string]any{"type": "string", "const": source.Group}, bindingVersion}},
		Messages: b.messages(topic, func(string) bool { return true }),
		Delivery: &Delivery{
			Group: b.plain(source.Group), Consumers: source.Consumers, Ordered: source.Ordered, Retry: source.Delivery.Retry, Backoff: backoff,
			DelayMillis: source.Delivery.Delay.Milliseconds(), TimeoutMillis: source.Delivery.Timeout.Milliseconds(),
			DeadLetters: Reference{"#/channels/" + letters},
		},
	}
	b.document.Operations[source.Sink+".setaside."+topic] = Operation{
		Action: Send, Channel: Reference{"#/channels/" + letters}, Title: topic + " that " + source.Sink + " could not handle",
		Summary: fmt.Sprintf("The source of %s sets aside what %s refused for good, or did not acknowledge in time.", topic, source.Sink),
		Tags:    tags, Function: source.Sink, DeadLetters: true,
		Messages: b.messages(letters, func(id string) bool {
			return id == unreadableID || strings.HasPrefix(id, topic+".v")
		}),
	}
}

func (b *builder) send(service knative.Service, eventType string) {
	inBase := b.Base != nil && slices.ContainsFunc(b.Base.Services, func(s knative.Service) bool { return s.Name == service.Name })
	b.document.Operations[service.Name+".send."+eventType] = Operation{
		Action: Send, Channel: Reference{"#/channels/" + eventType}, Title: service.Name + " sends " + eventType,
		Summary: fmt.Sprintf("%s stores %s with its state, and a relay publishes it.", service.Name, eventType),
		Tags:    append([]Tag{{Name: service.Name}}, b.overlaid(inBase)...), Function: service.Name, Relay: relay(service),
		Messages: b.messages(eventType, func(string) bool { return true }),
	}
}

// relay is the name of the relay that publishes the events of a function: the function wakes it.
func relay(service knative.Service) string {
	at, err := url.Parse(service.Env["OUTBOX_POKE_URL"])
	if err != nil {
		return ""
	}
	name, _, _ := strings.Cut(at.Hostname(), ".")
	return name
}
