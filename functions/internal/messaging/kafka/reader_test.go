package kafka_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/knative"
)

func newReader(t *testing.T, c kafkatest.Cluster) *kafka.Reader {
	t.Helper()
	r, err := kafka.NewReader(c.Brokers, nil)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, r.Close()) })
	return r
}

// values writes records with these values to a topic with one partition.
func values(t *testing.T, producer *kafka.Producer, topic string, values ...string) {
	t.Helper()
	var records []*sarama.ProducerMessage
	for _, value := range values {
		records = append(records, &sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(value)})
	}
	require.Equal(t, make([]error, len(values)), producer.Write(t.Context(), records))
}

func TestReaderReadsTheRecordsOfItsSpans(t *testing.T) {
	c := kafkatest.Start(t)
	name := topic(t, c, "order.created", 1)
	producer := newProducer(t, c)
	values(t, producer, name, "0", "1", "2")
	r := newReader(t, c)
	spans, err := r.Spans(name)
	require.NoError(t, err)
	require.Equal(t, []kafka.Span{{Topic: name, From: 0, To: 3}}, spans)
	values(t, producer, name, "later")

	var seen []string
	read := func(span kafka.Span) []string {
		seen = nil
		require.NoError(t, r.Read(t.Context(), span, func(m *sarama.ConsumerMessage) error {
			seen = append(seen, fmt.Sprintf("%d=%s", m.Offset, m.Value))
			return nil
		}))
		return seen
	}
	assert.Equal(t, []string{"0=0", "1=1", "2=2"}, read(spans[0]))
	assert.Equal(t, []string{"1=1"}, read(kafka.Span{Topic: name, From: 1, To: 2}))
	assert.Empty(t, read(kafka.Span{Topic: name, From: 2, To: 2}))
	assert.Equal(t, []string{"0=0", "1=1", "2=2"}, read(spans[0]), "it can be read again")

	enough := errors.New("enough")
	assert.ErrorIs(t, r.Read(t.Context(), spans[0], func(*sarama.ConsumerMessage) error { return enough }), enough)
}

func TestReaderAsksForTheSpansOfAllPartitionsAtOnce(t *testing.T) {
	c := kafkatest.Fake(t)
	name := topic(t, c, "order.created", 3)
	r := newReader(t, c)
	asked := c.Fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Topic: name, Count: -1, Observe: true})

	spans, err := r.Spans(name)

	require.NoError(t, err)
	assert.Equal(t, []kafka.Span{{Topic: name, Partition: 0}, {Topic: name, Partition: 1}, {Topic: name, Partition: 2}}, spans)
	assert.Equal(t, 2, asked.Hits(), "the oldest and the newest offsets")
}

func TestReaderAsksForTheSpansOfAllTopicsAtOnce(t *testing.T) {
	c := kafkatest.Fake(t)
	created, confirmed := topic(t, c, "order.created", 2), topic(t, c, "order.confirmed", 1)
	values(t, newProducer(t, c), confirmed, "0", "1")
	r := newReader(t, c)
	asked := c.Fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Count: -1, Observe: true})

	spans, err := r.SpansOf([]string{created, c.Prefix + "missing", confirmed, created})

	require.NoError(t, err)
	assert.Equal(t, map[string][]kafka.Span{
		created:   {{Topic: created, Partition: 0}, {Topic: created, Partition: 1}},
		confirmed: {{Topic: confirmed, To: 2}},
	}, spans)
	assert.Equal(t, 2, asked.Hits(), "the oldest and the newest offsets")
	spans, err = r.SpansOf([]string{c.Prefix + "missing"})
	require.NoError(t, err)
	assert.Empty(t, spans)
}

func TestReaderLeavesOutATopicThatIsGone(t *testing.T) {
	c := kafkatest.Fake(t)
	created, confirmed := topic(t, c, "order.created", 1), topic(t, c, "order.confirmed", 1)
	r := newReader(t, c)
	spans, err := r.SpansOf([]string{created, confirmed})
	require.NoError(t, err)
	require.Len(t, spans, 2)
	admin, err := sarama.NewClusterAdmin(c.Brokers, c.Config())
	require.NoError(t, err)
	defer func() { assert.NoError(t, admin.Close()) }()
	require.NoError(t, admin.DeleteTopic(confirmed))
	spans, err = r.SpansOf([]string{created, confirmed})
	require.NoError(t, err)
	assert.Equal(t, map[string][]kafka.Span{created: {{Topic: created}}}, spans)
}

func TestReaderAsksAnotherBrokerForSpansIfTheLeaderHasChanged(t *testing.T) {
	c := kafkatest.Fake(t)
	name := topic(t, c, "order.created", 2)
	r := newReader(t, c)
	c.Fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Topic: name, Err: kerr.NotLeaderForPartition, Count: 1})
	metadata := c.Fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Count: -1, Observe: true})

	spans, err := r.Spans(name)

	require.NoError(t, err)
	assert.Len(t, spans, 2)
	assert.NotZero(t, metadata.Hits())
}

func TestReaderFailsIfABrokerRefusesASpan(t *testing.T) {
	c := kafkatest.Fake(t)
	name := topic(t, c, "order.created", 2)
	r := newReader(t, c)
	c.Fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Topic: name, Err: kerr.UnknownServerError, Count: -1})
	_, err := r.Spans(name)
	assert.ErrorIs(t, err, sarama.ErrUnknown)
	assert.ErrorContains(t, err, name)
}

func TestReaderDoesNotMakeTheTopicThatItLooksFor(t *testing.T) {
	c := kafkatest.Start(t)
	r := newReader(t, c)
	for range 2 {
		_, err := r.Spans(c.Prefix + "missing")
		assert.ErrorIs(t, err, sarama.ErrUnknownTopicOrPartition)
	}
}

func TestReaderNamesTheBrokersThatAreDown(t *testing.T) {
	r := newReader(t, kafkatest.Cluster{Brokers: []string{"127.0.0.1:1"}})
	_, err := r.Spans("order.created.dlq")
	assert.ErrorContains(t, err, "order.created.dlq")
	assert.ErrorContains(t, err, "127.0.0.1:1")
}

func TestReaderWaitsForACoordinatorThatIsLoading(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := knative.Topic{Name: "order.created", Partitions: 1, Replicas: 1}
	require.NoError(t, kafka.EnsureTopics(t.Context(), c.Brokers, []knative.Topic{topic}))
	fault := c.Fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetFetch}, Err: kerr.CoordinatorLoadInProgress, Count: 2})

	committed, err := newReader(t, c).Committed("g", topic.Name)

	require.NoError(t, err)
	assert.Equal(t, map[int32]int64{0: 0}, committed)
	assert.Equal(t, 2, fault.Hits())
}
