package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/IBM/sarama"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/operate/asyncapi"
	"example.com/orders/functions/internal/testkit/asyncapitest"
	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/knative"
)

// unseen has the messages that no harness writes, by the end of their name, and why.
var unseen = map[string]string{
	".knative": "Knative writes it: a test of package asyncapi compares what its stand-in writes",
}

// Orders go every way that orders go, once with each version of order.created, in JSON and in Avro, and each consumer sets
// records aside. Every record in Kafka is then one that the document describes, and every message that the document describes
// was seen.
func TestTheDocumentsDescribeEveryRecordOfARunAndNothingElse(t *testing.T) {
	described, seen := map[string]bool{}, map[string]bool{} // messages, and headers of letters and events
	for n, overlay := range append([]string{""}, knative.Routings()...) {
		d, err := asyncapi.Of(knative.Manifests(), overlay, asyncapi.Options{})
		require.NoError(t, err)
		for id := range d.Components.Messages {
			described[id] = true
		}
		for _, of := range []string{"eventHeaders", "letterHeaders"} {
			for name := range d.Components.Schemas[of].(map[string]any)["properties"].(map[string]any) {
				described[name] = true
			}
		}
		for _, format := range []string{"json", "avro"} {
			t.Run(or(overlay, knative.BaseName)+" in "+format, func(t *testing.T) {
				s, _ := withRegistry(t)
				s.environ = append(s.environ, fmt.Sprintf("ORDER_CREATED_VERSION=%d", 1+n), "EVENT_FORMAT="+format)
				if format == "avro" {
					s.operate(t, "", "schemas register")
				}
				r := recorded{t: t, stack: s, process: s.up(t, "--overlay", or(overlay, knative.BaseName)), document: d}
				r.act(overlay != "")
				r.spoil()
				maps.Copy(seen, r.compare(asyncapi.File(overlay)))
			})
		}
	}
	for id := range described {
		excused := slices.ContainsFunc(slices.Collect(maps.Keys(unseen)), func(end string) bool { return strings.HasSuffix(id, end) })
		assert.NotEqual(t, excused, seen[id], "%s: either a run has it, or unseen says why none does", id)
	}
}

// recorded is a run whose records are compared with a document.
type recorded struct {
	t        *testing.T
	stack    stack
	process  *process
	document asyncapi.Document // for examples; what is compared is the text in the checkout
}

func (r recorded) topics() kafkatest.Cluster {
	return r.process.topics(r.t)
}

// act places orders that are confirmed, fail, are canceled and, with payment, are declined.
func (r recorded) act(paid bool) {
	p := r.process
	traced := http.Header{
		"X-Correlation-Id": {"my-flow.1"}, "Tracestate": {"vendor=1"}, "Traceparent": {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
	}
	var canceled order
	require.Equal(r.t, http.StatusCreated, p.do(r.t, http.MethodPost, "/api/orders", traced, body("SKU-123", 2), &canceled))
	p.awaitStatus(r.t, canceled.OrderID, "CONFIRMED")
	require.Equal(r.t, http.StatusOK, p.do(r.t, http.MethodPost, "/api/orders/"+canceled.OrderID+"/cancel", nil, "", nil))
	command := http.Header{"Ce-Specversion": {"1.0"}, "Ce-Type": {"order.create"}, "Ce-Source": {"/test"}, "Ce-Id": {"1"}}
	var confirmed order
	require.Equal(r.t, http.StatusCreated, p.do(r.t, http.MethodPost, "/functions/create-order", command, body("SKU-456", 1), &confirmed))
	p.awaitStatus(r.t, confirmed.OrderID, "CONFIRMED")
	p.awaitStatus(r.t, p.place(r.t, "SKU-789", 6).OrderID, "FAILED")
	topics := r.topics()
	if paid {
		p.awaitStatus(r.t, p.placeFor(r.t, 1201).OrderID, "FAILED")
		topics.Records(r.t, topics.Prefix+"payment.refunded", 2) // of what was canceled, and of what was short
	}
	topics.Records(r.t, topics.Prefix+"inventory.released", 1)
}

// spoilt is a value that is no event, and another the id of an order that there is not.
const spoilt, another = `{"spoilt":true}`, "00000000-0000-7000-8000-000000000000"

// spoil writes records into each topic with a consumer, and waits until all are set aside: one that is no event, and for
// each version an event that the document allows but no consumer takes, since its attributes name another order than its
// data.
func (r recorded) spoil() {
	consumers := map[string]int{} // by channel
	for _, operation := range r.document.Operations {
		if operation.Action == asyncapi.Receive {
			consumers[strings.TrimPrefix(operation.Channel.Ref, "#/channels/")]++
		}
	}
	topics := r.topics()
	producer, err := sarama.NewSyncProducer(topics.Brokers, topics.Config())
	require.NoError(r.t, err)
	defer func() { require.NoError(r.t, producer.Close()) }()
	for channel := range consumers {
		records := []*sarama.ProducerMessage{{
			Value: sarama.StringEncoder(spoilt), Headers: []sarama.RecordHeader{{Key: []byte("color"), Value: []byte("red")}},
		}}
		for id := range r.document.Channels[channel].Messages {
			plain, inAvro := strings.CutSuffix(id, ".avro")
			record := astray(r.document.Components.Messages[plain].Examples[0])
			if inAvro {
				record = asyncapitest.InAvro(r.t, channel, record)
			}
			records = append(records, record)
		}
		for _, m := range records {
			m.Topic = topics.Prefix + channel
			_, _, err := producer.SendMessage(m)
			require.NoError(r.t, err)
		}
	}
	for channel, n := range consumers {
		topics.Records(r.t, topics.Prefix+channel+".dlq", n*(1+len(r.document.Channels[channel].Messages)))
	}
}

// astray is the record of an example, whose attributes name another order.
func astray(example asyncapi.Example) *sarama.ProducerMessage {
	m := &sarama.ProducerMessage{Key: sarama.StringEncoder(another), Value: sarama.ByteEncoder(example.Payload)}
	for name, value := range example.Headers {
		if name == "ce_subject" || name == "ce_partitionkey" {
			value = another
		}
		m.Headers = append(m.Headers, sarama.RecordHeader{Key: []byte(name), Value: []byte(value)})
	}
	return m
}

// compare reads every record of every topic and returns the messages that they are, and the headers that they have. Each must be one of the document in the
// checkout, and one that says its schema must conform to what the harness serves under the path of that.
func (r recorded) compare(file string) map[string]bool {
	topics := r.topics()
	text := []byte(readFile(r.t, file))
	if topics.Prefix != "" {
		text = r.fetch("/asyncapi.json") // the addresses have the prefix, and are otherwise the same
	}
	document := asyncapitest.Read(r.t, text)
	assert.Equal(r.t, document.Topics(), asyncapitest.Read(r.t, r.fetch("/asyncapi.json")).Topics())
	client, err := sarama.NewClient(topics.Brokers, topics.Config())
	require.NoError(r.t, err)
	defer func() { require.NoError(r.t, client.Close()) }()
	r.compareGroups(client)
	existing, err := client.Topics()
	require.NoError(r.t, err)
	seen, schemas := map[string]bool{}, map[string]*jsonschema.Schema{}
	for _, topic := range existing {
		if !strings.HasPrefix(topic, topics.Prefix) || strings.HasPrefix(topic, "__") {
			continue
		}
		require.Contains(r.t, document.Topics(), topic)
		for _, record := range topics.Records(r.t, topic, written(r.t, client, topic)) {
			message, err := document.Message(record)
			if string(record.Value) == spoilt && !strings.HasSuffix(topic, ".dlq") {
				assert.Error(r.t, err, "the test has written it")
				continue
			}
			assert.NoError(r.t, err)
			assert.Equal(r.t, string(record.Value) == spoilt, message == "unreadable.deadletter", message)
			if string(record.Key) != another || strings.HasSuffix(topic, ".dlq") {
				seen[message] = true // and not only written by the test
			}
			for _, h := range record.Headers {
				seen[string(h.Key)] = true
				if string(h.Key) == "ce_dataschema" {
					value, err := document.JSON(record, message)
					assert.NoError(r.t, err)
					assert.NoError(r.t, r.schema(schemas, string(h.Value)).Validate(decoded(r.t, value)))
				}
			}
		}
	}
	assert.NotEmpty(r.t, schemas)
	return seen
}

// compareGroups compares the consumer groups with those of the operations that receive.
func (r recorded) compareGroups(client sarama.Client) {
	var described []string
	for _, operation := range r.document.Operations {
		if operation.Action == asyncapi.Receive {
			described = append(described, r.topics().Prefix+operation.Bindings.Kafka.Group["const"].(string))
		}
	}
	admin, err := sarama.NewClusterAdminFromClient(client)
	require.NoError(r.t, err)
	groups, err := admin.ListConsumerGroups()
	require.NoError(r.t, err)
	maps.DeleteFunc(groups, func(name, _ string) bool { return !strings.HasPrefix(name, r.topics().Prefix) })
	assert.ElementsMatch(r.t, described, slices.Collect(maps.Keys(groups)))
}

// written is the number of records in a topic.
func written(t *testing.T, client sarama.Client, topic string) (n int) {
	t.Helper()
	partitions, err := client.Partitions(topic)
	require.NoError(t, err)
	for _, partition := range partitions {
		newest, err := client.GetOffset(topic, partition, sarama.OffsetNewest)
		require.NoError(t, err)
		oldest, err := client.GetOffset(topic, partition, sarama.OffsetOldest)
		require.NoError(t, err)
		n += int(newest - oldest)
	}
	return n
}

// schema returns what the harness serves under the path of a dataschema.
func (r recorded) schema(known map[string]*jsonschema.Schema, uri string) *jsonschema.Schema {
	if known[uri] == nil {
		at, err := url.Parse(uri)
		require.NoError(r.t, err)
		compiler := jsonschema.NewCompiler()
		compiler.AssertFormat()
		require.NoError(r.t, compiler.AddResource(uri, decoded(r.t, r.fetch(at.Path))))
		known[uri], err = compiler.Compile(uri)
		require.NoError(r.t, err)
	}
	return known[uri]
}

func decoded(t *testing.T, text []byte) any {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err, string(text))
	return value
}

// fetch returns what the harness serves at a path.
func (r recorded) fetch(path string) []byte {
	request, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, r.process.url+path, nil)
	require.NoError(r.t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(r.t, err)
	defer func() { assert.NoError(r.t, response.Body.Close()) }()
	require.Equal(r.t, http.StatusOK, response.StatusCode, path)
	text, err := io.ReadAll(response.Body)
	require.NoError(r.t, err)
	return text
}
