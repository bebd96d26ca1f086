package cdc

import (
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/operate/connect"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/sql/schema"
)

// exists returns whether a topic has partitions.
func (s *system) exists(topic string) bool {
	s.Helper()
	reader, err := kafka.NewReader(s.Brokers, nil)
	require.NoError(s, err)
	defer func() { assert.NoError(s, reader.Close()) }()
	_, err = reader.Spans(topic)
	if err != nil {
		require.ErrorIs(s, err, sarama.ErrUnknownTopicOrPartition)
	}
	return err == nil
}

// A connector makes no topic, which would have partitions of its own: it fails and says which one is missing. Meanwhile the relay
// sends what has a topic. Once the topic is there, the connector goes on where it was.
func TestAConnectorFailsWithoutATopicAndGoesOnOnceItIsThere(t *testing.T) {
	s := startCaptured(t)
	s.store(5)
	s.complete()
	missing := s.Prefix + events.OrderConfirmedType
	admin, err := sarama.NewClusterAdmin(s.Brokers, s.Config())
	require.NoError(t, err)
	defer func() { assert.NoError(t, admin.Close()) }()
	require.NoError(t, admin.DeleteTopic(missing))
	s.await("the topic is gone", func() bool { return !s.exists(missing) })

	confirmed := functiontest.Golden(t, events.OrderConfirmedType, 1)
	outboxtest.Store(t, s.pool(schema.Orders), time.Now(), confirmed)
	s.store(5)
	s.stored = append(s.stored, confirmed)

	reason := ""
	s.await("the connector has failed", func() bool {
		status, err := s.connect.Status(t.Context(), s.connector.Name)
		require.NoError(t, err)
		reason = status.Reason()
		return status.State() == connect.Failed
	})
	assert.Contains(t, reason, "the topic "+missing+" does not exist")
	assert.False(t, s.exists(missing), "the connector has made it")
	s.await("an alert can tell", func() bool { return scrape(t)[tasksFailed][s.connector.Name] == 1 })

	f := s.follower(time.Second)
	s.await("the relay has sent the others", func() bool {
		_, err := f.Pass(t.Context())
		require.NoError(t, err)
		if _, err := s.sweep(s.Cluster, outbox.Relay{DB: s.pool(schema.Orders), DueOnly: true}); err != nil {
			require.ErrorContains(t, err, missing, "the relay says what is missing, too")
		}
		return s.unsent() == 1
	})
	assert.Equal(t, 1, mysqltest.Count(t, s.pool(schema.Orders), "SELECT COUNT(*) FROM outbox WHERE status <> 'SENT' AND aggregate_id = ?", confirmed.Subject()), "its event waits")

	require.NoError(t, kafka.EnsureTopics(t.Context(), s.Brokers, onOneBroker(s.wiring.Topics)))
	require.NoError(t, s.connect.Restart(t.Context(), s.connector.Name))
	s.store(5)
	assert.Len(t, s.complete(), 16)
	s.follows(s.connector)
	failed, counted := scrape(t)[tasksFailed][s.connector.Name]
	assert.True(t, counted)
	assert.Zero(t, failed)
}
