package capture_test

import (
	"context"
	"database/sql"
	"log/slog"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/messaging/capture"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/knative"
	"example.com/orders/sql/schema"
)

// captured is an outbox that a connector captures, which the test plays by publishing.
type captured struct {
	testing.TB

	kafkatest.Cluster
	db       *sql.DB
	producer *kafka.Producer
	follower *capture.Follower
}

func start(t *testing.T) *captured {
	t.Helper()
	c := kafkatest.Start(t)
	w, err := knative.LoadOverlay(knative.Manifests(), "cdc")
	require.NoError(t, err)
	w, err = w.WithTopicPrefix(c.Prefix)
	require.NoError(t, err)
	for i := range w.Topics {
		w.Topics[i].Replicas = 1
	}
	require.NoError(t, kafka.EnsureTopics(t.Context(), c.Brokers, w.Topics))
	log := slog.New(slog.DiscardHandler)
	s := &captured{TB: t, Cluster: c, db: mysqltest.Open(t, schema.Orders), producer: kafka.NewProducer(c.Brokers, c.Prefix, log)}
	s.follower = &capture.Follower{DB: s.db, Brokers: c.Brokers, TopicPrefix: c.Prefix, Patience: time.Minute, Now: time.Now, Log: log}
	t.Cleanup(func() {
		require.NoError(t, s.producer.Close())
		require.NoError(t, s.follower.Close())
	})
	return s
}

// store adds an event of each of these types to the outbox, as of some time ago.
func (s *captured) store(ago time.Duration, types ...string) (all []event.Event) {
	s.Helper()
	for _, kind := range types {
		all = append(all, functiontest.Golden(s, kind, 1))
	}
	outboxtest.Store(s, s.db, time.Now().Add(-ago), all...)
	return all
}

func (s *captured) publish(all ...event.Event) []outbox.Outcome {
	s.Helper()
	outcomes := s.producer.Publish(s.Context(), all)
	for _, o := range outcomes {
		require.NoError(s, o.Err)
	}
	return outcomes
}

func (s *captured) pass() capture.Passed {
	s.Helper()
	p, err := s.follower.Pass(s.Context())
	require.NoError(s, err)
	return p
}

func (s *captured) count(where string, args ...any) int {
	s.Helper()
	return mysqltest.Count(s, s.db, "SELECT COUNT(*) FROM outbox WHERE "+where, args...)
}

func TestAPassMarksTheRowsWhoseRecordIsThere(t *testing.T) {
	s := start(t)
	all := s.store(0, events.OrderCreatedType, events.OrderCreatedType, events.OrderConfirmedType)
	s.publish(functiontest.Golden(t, events.OrderFailedType, 1)) // of nobody's row
	places := s.publish(all[0], all[2])

	assert.Equal(t, capture.Passed{Sent: 2}, s.pass())

	for i, e := range []event.Event{all[0], all[2]} {
		assert.Equal(t, 1, s.count("status = 'SENT' AND sent_at IS NOT NULL AND aggregate_id = ? AND kafka_partition = ? AND kafka_offset = ?", e.Subject(), places[i].Partition, places[i].Offset))
	}
	assert.Equal(t, 1, s.count("status = 'NEW'"))
	assert.Equal(t, capture.Passed{}, s.pass(), "the third has no record")
	s.publish(all[1])
	assert.Equal(t, capture.Passed{Sent: 1}, s.pass())
	assert.Equal(t, capture.Passed{}, s.pass())
	assert.Equal(t, 3, s.count("status = 'SENT' AND attempts = 0 AND next_attempt_at IS NULL"))
}

// A follower that starts anew finds what was published before.
func TestAFollowerStartsWithTheOldestRow(t *testing.T) {
	s := start(t)
	for range 3 {
		s.publish(s.store(time.Hour, events.OrderCreatedType)...)
	}
	s.store(0, events.OrderCreatedType)
	assert.Equal(t, capture.Passed{Sent: 3}, s.pass())
}

func TestARowIsLeftToTheRelayOnceItIsOverdue(t *testing.T) {
	s := start(t)
	overdue := s.store(2*time.Minute, events.OrderCreatedType)[0]
	s.store(0, events.OrderCreatedType)

	assert.Equal(t, capture.Passed{LeftOut: 1}, s.pass())

	assert.Equal(t, 1, s.count("status = 'ERROR' AND attempts = 0 AND last_error LIKE 'not published by change data capture%' AND aggregate_id = ?", overdue.Subject()))
	published := &outboxtest.Publisher{}
	relay := outbox.Relay{DB: s.db, Publisher: published, Now: time.Now, DueOnly: true}
	sent, err := relay.Sweep(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 1, sent)
	assert.Equal(t, overdue.ID(), published.Events()[0].ID())
	assert.Equal(t, 1, s.count("status = 'NEW'"), "the young one is the connector's")
	assert.Zero(t, mysqltest.Count(t, s.db, "SELECT COUNT(*) FROM outbox_waiting"))
	sent, err = relay.Sweep(t.Context())
	require.NoError(t, err)
	assert.Zero(t, sent)
}

// A broker that does not answer ends a pass with an error, and a later pass goes on.
func TestAPassIsRepeatedAfterAnError(t *testing.T) {
	s := start(t)
	all := s.store(0, events.OrderCreatedType)
	s.publish(all...)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	s.follower.Brokers = []string{"127.0.0.1:1"}
	_, err := s.follower.Pass(ended)
	require.Error(t, err)
	_, err = s.follower.Pass(t.Context())
	require.ErrorContains(t, err, "look for published events")
	assert.Equal(t, 1, s.count("status = 'NEW'"))
	s.follower.Brokers = s.Brokers
	assert.Equal(t, capture.Passed{Sent: 1}, s.pass())
}

// Topics may be removed and cut while a follower reads them.
func TestAPassOutlivesTopicsThatAreRemovedOrCut(t *testing.T) {
	s := start(t)
	s.publish(s.store(0, events.OrderCreatedType, events.OrderConfirmedType)...)
	assert.Equal(t, capture.Passed{Sent: 2}, s.pass())
	config := sarama.NewConfig()
	config.Version = sarama.V3_6_0_0
	admin, err := sarama.NewClusterAdmin(s.Brokers, config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, admin.Close()) })
	require.NoError(t, admin.DeleteTopic(s.Prefix+events.OrderConfirmedType))
	for range 20 {
		s.publish(functiontest.Golden(t, events.OrderCreatedType, 1))
	}
	cut := map[int32]int64{}
	for partition := range int32(3) {
		cut[partition] = -1 // all that it has
	}
	require.NoError(t, admin.DeleteRecords(s.Prefix+events.OrderCreatedType, cut))
	orphan := s.store(0, events.OrderConfirmedType)
	left := s.store(0, events.OrderCreatedType)
	s.publish(left...)

	assert.Equal(t, capture.Passed{Sent: 1}, s.pass())

	assert.Equal(t, 1, s.count("status = 'NEW' AND aggregate_id = ?", orphan[0].Subject()))
}
