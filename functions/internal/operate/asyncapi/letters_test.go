package asyncapi_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/operate/asyncapi"
	"example.com/orders/functions/internal/testkit/asyncapitest"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/functions/internal/testkit/knativetest"
	"example.com/orders/knative"
)

// failures are the ways in which a function fails for good: Knative says less about one that does not answer.
var failures = map[string]http.HandlerFunc{
	"answered":   func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "never", http.StatusUnprocessableEntity) },
	"unanswered": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
}

// The stand-in for Knative's sources sets an event of each version aside for each of its consumers, and a record that is no
// event. The documents describe each dead letter, and each message of Knative's was seen.
func TestTheDocumentsDescribeTheDeadLettersOfKnative(t *testing.T) {
	for _, overlay := range append(knative.Routings(), knative.BaseName) {
		for name, fail := range failures {
			t.Run(overlay+"/"+name, func(t *testing.T) { describesDeadLetters(t, overlay, fail) })
		}
	}
}

func describesDeadLetters(t *testing.T, overlay string, fail http.HandlerFunc) {
	t.Helper()
	w, err := knative.LoadOverlay(knative.Manifests(), overlay)
	require.NoError(t, err)
	d := documents(t)[w.Overlay]
	cluster := kafkatest.Fake(t)
	require.NoError(t, kafka.EnsureTopics(t.Context(), cluster.Brokers, w.Topics))
	failing := functiontest.Serve(t, fail)
	services, topics := map[string]string{}, map[string]string{}
	for _, s := range w.Services {
		services[s.Name] = failing
	}
	for _, s := range w.Sinks {
		topics[s.Name] = s.Topic
	}
	w.Pings = nil
	for i := range w.Sources {
		w.Sources[i].Delivery.Retry = 0
	}
	expected := writeEach(t, cluster.Brokers, d, w)
	knativetest.Start(t, cluster.Brokers, w, services, knativetest.StartSink(t, cluster.Brokers, topics))

	document := asyncapitest.Read(t, []byte(read(t, asyncapi.File(w.Overlay))))
	seen := map[string]bool{}
	for topic, n := range expected {
		for _, record := range cluster.Records(t, topic, n) {
			message, err := document.Message(record)
			require.NoError(t, err)
			seen[message] = true
		}
	}
	for id := range d.Components.Messages {
		assert.Equal(t, strings.HasSuffix(id, ".knative") || id == "unreadable.deadletter", seen[id], id)
	}
}

// writeEach writes the example of each message, and a record that is no event, into each topic with a consumer. It returns
// how many dead letters that makes, by their topic.
func writeEach(t *testing.T, brokers []string, d asyncapi.Document, w *knative.Wiring) map[string]int {
	t.Helper()
	config := sarama.NewConfig()
	config.Producer.Return.Successes = true
	producer, err := sarama.NewSyncProducer(brokers, config)
	require.NoError(t, err)
	defer func() { require.NoError(t, producer.Close()) }()
	letters, written := map[string]int{}, map[string]bool{}
	for _, source := range w.Sources {
		messages := d.Channels[source.Topic].Messages
		letters[source.Delivery.DeadLetter] += 1 + len(messages)
		if written[source.Topic] {
			continue
		}
		written[source.Topic] = true
		records := []*sarama.ProducerMessage{{Topic: source.Topic, Value: sarama.StringEncoder("no event"), Key: sarama.StringEncoder("1"),
			Headers: []sarama.RecordHeader{{Key: []byte("color"), Value: []byte("red")}}}}
		for id := range messages {
			plain, inAvro := strings.CutSuffix(id, ".avro")
			example := d.Components.Messages[plain].Examples[0]
			m := &sarama.ProducerMessage{Topic: source.Topic, Key: sarama.StringEncoder(example.Headers["ce_subject"]), Value: sarama.ByteEncoder(example.Payload)}
			for name, value := range example.Headers {
				m.Headers = append(m.Headers, sarama.RecordHeader{Key: []byte(name), Value: []byte(value)})
			}
			if inAvro {
				m = asyncapitest.InAvro(t, source.Topic, m)
			}
			records = append(records, m)
		}
		require.NoError(t, producer.SendMessages(records))
	}
	return letters
}
