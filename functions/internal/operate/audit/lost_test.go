package audit_test

import (
	"slices"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/operate/audit"
	"example.com/orders/knative"
	"example.com/orders/sql/schema"
)

// removeAll deletes the records of a type, like the retention of its topic.
func (s *system) removeAll(eventType string) {
	s.Helper()
	reader, err := kafka.NewReader(s.options.Brokers, nil)
	require.NoError(s, err)
	defer func() { require.NoError(s, reader.Close()) }()
	spans, err := reader.Spans(s.options.TopicPrefix + eventType)
	require.NoError(s, err)
	offsets := map[int32]int64{}
	for _, span := range spans {
		offsets[span.Partition] = span.To
	}
	admin, err := sarama.NewClusterAdminFromClient(s.client())
	require.NoError(s, err)
	require.NoError(s, admin.DeleteRecords(s.options.TopicPrefix+eventType, offsets))
}

// only leaves of the wiring the sources of one function.
func (s *system) only(function string) {
	w := *s.options.Wiring
	w.Sources = slices.DeleteFunc(slices.Clone(w.Sources), func(source knative.KafkaSource) bool { return source.Sink != function })
	s.options.Wiring = &w
}

func TestRecordsThatAreRemovedBeforeTheirConsumerCameAreABreach(t *testing.T) {
	t.Parallel()
	s := start(t, newTopics(t))
	s.only("reserve-stock")
	s.order(2)
	s.settle() // every group has committed an offset on every partition
	for range 5 {
		s.order(2)
	}
	s.relay()
	s.removeAll(events.OrderCreatedType)

	r := s.audit()

	lost := find(t, r, audit.Lost)
	assert.Equal(t, 5, lost.Breached, "five records, on however many partitions")
	for _, text := range lost.Breaches {
		assert.Contains(t, text, "records of "+s.options.TopicPrefix+"order.created/")
		assert.Contains(t, text, "were removed before reserve-stock had handled them")
	}
	s.commit()
	assert.Zero(t, find(t, s.audit(), audit.Lost).Breached, "the offsets alone do not tell it any more")
}

func TestRecordsThatAConsumerHasFoundLostStayABreachForAsLongAsSentRowsAreKept(t *testing.T) {
	t.Parallel()
	s := start(t, newTopics(t))
	const found = "INSERT INTO lost_records (topic, kafka_partition, consumer, first_offset, next_offset, at) VALUES (?, 1, 'reserve-stock', ?, ?, NOW(6))"
	s.exec(schema.Operations, found, s.options.TopicPrefix+"order.created", 5, 12)
	s.exec(schema.Operations, found, s.options.TopicPrefix+"order.created", 20, 22)

	lost := find(t, s.audit(), audit.Lost)

	assert.Equal(t, 9, lost.Breached)
	assert.Equal(t, []string{
		"7 records of " + s.options.TopicPrefix + "order.created/1, offsets 5 to 11, were removed before reserve-stock had handled them",
		"2 records of " + s.options.TopicPrefix + "order.created/1, offsets 20 to 21, were removed before reserve-stock had handled them",
	}, lost.Breaches)

	s.options.Now = func() time.Time { return time.Now().Add(s.options.SentRetention + time.Hour) }
	assert.Zero(t, find(t, s.audit(), audit.Lost).Breached)
}

func TestALossThatItsConsumerHasRecordedAndNotYetPassedOverIsOne(t *testing.T) {
	t.Parallel()
	s := start(t, newTopics(t))
	s.only("reserve-stock")
	s.order(2)
	s.settle()
	s.order(2)
	s.relay()
	s.removeAll(events.OrderCreatedType)
	reader, err := kafka.NewReader(s.options.Brokers, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, reader.Close()) }()
	topic := s.options.TopicPrefix + events.OrderCreatedType
	spans, err := reader.Spans(topic)
	require.NoError(t, err)
	committed, err := reader.Offsets(s.options.TopicPrefix+"reserve-stock.order.created", topic)
	require.NoError(t, err)
	for _, span := range spans {
		if at := committed[span.Partition]; at < span.From {
			s.exec(schema.Operations, "INSERT INTO lost_records (topic, kafka_partition, consumer, first_offset, next_offset, at) VALUES (?, ?, 'reserve-stock', ?, ?, NOW(6))",
				topic, span.Partition, at, span.From)
		}
	}
	assert.Equal(t, 1, find(t, s.audit(), audit.Lost).Breached)
}
