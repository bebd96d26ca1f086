package kafka_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/observe/exposition"
	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/knative"
)

// sized creates a topic and its dead-letter topic with these record limits in bytes.
func sized(t *testing.T, c kafkatest.Cluster, topic, letters string) string {
	t.Helper()
	name := c.Prefix + "order.created"
	require.NoError(t, kafka.EnsureTopics(t.Context(), c.Brokers, []knative.Topic{
		{Name: name, Partitions: 1, Replicas: 1, Config: map[string]string{"max.message.bytes": topic}},
		{Name: name + ".dlq", Partitions: 1, Replicas: 1, Config: map[string]string{"max.message.bytes": letters}},
	}))
	return name
}

// declared returns the record limits of order.created and of its dead letters in the wiring.
func declared(t *testing.T) (topic, letters string) {
	t.Helper()
	w, err := knative.Load(knative.Base())
	require.NoError(t, err)
	sizes := map[string]string{}
	for _, topic := range w.Topics {
		sizes[topic.Name] = topic.Config["max.message.bytes"]
	}
	return sizes["order.created"], sizes["order.created.dlq"]
}

// writeLargest writes the largest record that a topic takes; shape builds a record padded with so many bytes. It finds the
// size on another topic with the same limit.
func writeLargest(t *testing.T, c kafkatest.Cluster, topic, limit string, shape func(topic string, fill int) *sarama.ProducerMessage) {
	t.Helper()
	scratch := topic + ".scratch"
	require.NoError(t, kafka.EnsureTopics(t.Context(), c.Brokers, []knative.Topic{
		{Name: scratch, Partitions: 1, Replicas: 1, Config: map[string]string{"max.message.bytes": limit}},
	}))
	p := newProducer(t, c)
	write := func(topic string, fill int) error {
		return p.Write(t.Context(), []*sarama.ProducerMessage{shape(topic, fill)})[0]
	}
	bytes, err := strconv.Atoi(limit)
	require.NoError(t, err)
	least := sort.Search(bytes, func(fill int) bool {
		err := write(scratch, fill)
		if err != nil {
			require.ErrorIs(t, err, outbox.ErrTooLarge)
		}
		return err != nil
	})
	require.Positive(t, least)
	require.NoError(t, write(topic, least-1))
}

func attribute(name, value string) sarama.RecordHeader {
	return sarama.RecordHeader{Key: []byte(name), Value: []byte(value)}
}

var identity = []sarama.RecordHeader{
	attribute("ce_specversion", "1.0"), attribute("ce_id", "1"), attribute("ce_source", "/orders"), attribute("ce_type", "order.created"),
}

// filler returns n headers of so many bytes each.
func filler(n, size int) (headers []sarama.RecordHeader) {
	for i := range n {
		headers = append(headers, attribute(fmt.Sprintf("filler-%d", i), strings.Repeat("h", size)))
	}
	return headers
}

// largeRecords has the shapes of a record that is as large as its topic allows.
var largeRecords = map[string]func(topic string, fill int) *sarama.ProducerMessage{
	"a value": func(topic string, fill int) *sarama.ProducerMessage {
		return &sarama.ProducerMessage{Topic: topic, Key: sarama.StringEncoder("order-1"), Headers: identity, Value: sarama.ByteEncoder(make([]byte, fill))}
	},
	"a value with many headers": func(topic string, fill int) *sarama.ProducerMessage {
		headers := append(filler(5000, 20), identity...)
		return &sarama.ProducerMessage{Topic: topic, Key: sarama.StringEncoder("order-1"), Headers: headers, Value: sarama.ByteEncoder(make([]byte, fill))}
	},
	"headers": func(topic string, fill int) *sarama.ProducerMessage {
		headers := append(filler(2, 450_000), attribute("the-last", strings.Repeat("h", fill)))
		return &sarama.ProducerMessage{Topic: topic, Key: sarama.StringEncoder("order-1"), Headers: append(headers, identity...), Value: sarama.StringEncoder("small")}
	},
	"one header": func(topic string, fill int) *sarama.ProducerMessage {
		return &sarama.ProducerMessage{Topic: topic, Headers: append([]sarama.RecordHeader{attribute("ce_other", strings.Repeat("h", fill))}, identity...)}
	},
	"a key": func(topic string, fill int) *sarama.ProducerMessage {
		return &sarama.ProducerMessage{Topic: topic, Key: sarama.ByteEncoder(make([]byte, fill)), Headers: identity, Value: sarama.StringEncoder("small")}
	},
}

func poisonous(t *testing.T, c kafkatest.Cluster, name string) kafka.SourceOptions {
	t.Helper()
	return options(t, c, name, newProbe(func(context.Context, event.Event, int) error {
		return delivery.Result(delivery.Poison(errBroken))
	}))
}

func TestDeadLetterOfTheLargestRecordIsWhole(t *testing.T) {
	for shape, record := range largeRecords {
		t.Run(shape, func(t *testing.T) {
			c := kafkatest.Start(t)
			topic, letters := declared(t)
			name := sized(t, c, topic, letters)
			writeLargest(t, c, name, topic, record)
			original := c.Records(t, name, 1)[0]
			o := poisonous(t, c, name)
			r := start(t, o)

			letter := c.Records(t, name+".dlq", 1)[0]

			r.stop(t)
			assert.True(t, bytes.Equal(original.Key, letter.Key))
			assert.True(t, bytes.Equal(original.Value, letter.Value))
			assert.Len(t, letter.Headers, len(original.Headers)+8)
			assert.Empty(t, header(letter, kafka.HeaderCut))
			assert.EqualValues(t, 1, committed(t, c, o))
		})
	}
}

func TestDeadLetterThatIsTooLargeIsCutAndSaysSo(t *testing.T) {
	for shape, record := range largeRecords {
		t.Run(shape, func(t *testing.T) {
			c := kafkatest.Start(t)
			name := sized(t, c, "1048588", "1048588") // like topics of an earlier release
			writeLargest(t, c, name, "1048588", record)
			original := c.Records(t, name, 1)[0]
			o := poisonous(t, c, name)
			counted := exposition.New()
			o.Metrics = counted.Metrics
			book := newLogbook()
			o.Log = slog.New(book)
			r := start(t, o)

			letter := c.Records(t, name+".dlq", 1)[0]

			r.stop(t)
			assert.EqualValues(t, 1, committed(t, c, o), "it is done")
			assert.Regexp(t, fmt.Sprintf(`^\d+ of %d bytes of the value are left, \d+ of %d headers, \d+ of %d bytes of the key$`,
				len(original.Value), len(original.Headers), len(original.Key)), header(letter, kafka.HeaderCut))
			assert.True(t, bytes.HasPrefix(original.Value, letter.Value), "what is left is the beginning")
			for _, h := range identity {
				assert.Equal(t, string(h.Value), header(letter, string(h.Key)), "small headers stay")
			}
			assert.Equal(t, name, header(letter, kafka.HeaderTopic))
			assert.Equal(t, "0", header(letter, kafka.HeaderOffset), "where all of it is")
			assert.Contains(t, header(letter, kafka.HeaderError), "broken")
			if shape == "a value" {
				assert.Greater(t, len(letter.Value), 500_000, "no more is cut than has to be, within a half")
				assert.Equal(t, original.Key, letter.Key)
			}
			assert.Equal(t, map[string]int{"dead letter too large for its topic, cutting it: raise the topic's max.message.bytes": 1, "record set aside as a dead letter": 1}, book.all())
			require.NoError(t, testutil.GatherAndCompare(counted, strings.NewReader(`
# HELP orders_dead_letters_cut_total Dead letters without a part of their record, which was too large for the topic.
# TYPE orders_dead_letters_cut_total counter
orders_dead_letters_cut_total{consumer="reserve-stock",topic="`+name+`"} 1
`), "orders_dead_letters_cut_total"))
		})
	}
}

func TestDeadLettersOfATopicThatTakesNextToNothingSayWhereTheRecordIs(t *testing.T) {
	c := kafkatest.Start(t)
	name := sized(t, c, "1048588", "600")
	publish(t, newProducer(t, c), fact("1", "order-1", strings.Repeat("x", 10_000)))
	start(t, poisonous(t, c, name))

	letter := c.Records(t, name+".dlq", 1)[0]

	assert.Equal(t, name, header(letter, kafka.HeaderTopic))
	assert.Equal(t, "0", header(letter, kafka.HeaderOffset))
	assert.NotEmpty(t, header(letter, kafka.HeaderCut))
}
