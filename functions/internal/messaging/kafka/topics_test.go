package kafka_test

import (
	"context"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/functions/internal/testkit/porttest"
	"example.com/orders/knative"
)

func TestEnsureTopicsCreatesMissingTopics(t *testing.T) {
	c := kafkatest.Start(t)
	one := knative.Topic{Name: c.Prefix + "one", Partitions: 3, Replicas: 3, Config: map[string]string{"retention.ms": "604800000"}}
	two := knative.Topic{Name: c.Prefix + "two", Partitions: 1, Replicas: 1}
	require.NoError(t, kafka.EnsureTopics(t.Context(), c.Brokers, []knative.Topic{one}))
	changed := one
	changed.Partitions = 5
	require.NoError(t, kafka.EnsureTopics(t.Context(), c.Brokers, []knative.Topic{changed, two}), "the second time")

	a := admin(t, c)
	topics, err := a.ListTopics()
	require.NoError(t, err)
	assert.EqualValues(t, 3, topics[one.Name].NumPartitions, "a topic that is there stays as it is")
	assert.EqualValues(t, 1, topics[two.Name].NumPartitions)
	described, err := a.DescribeConfigs([]*sarama.ConfigResource{{Type: sarama.TopicResource, Name: one.Name, ConfigNames: []string{"retention.ms"}}}, sarama.DescribeConfigsOptions{})
	require.NoError(t, err)
	require.Len(t, described, 1)
	require.Len(t, described[0].Configs, 1)
	assert.Equal(t, "604800000", described[0].Configs[0].Value)
}

func TestEnsureTopicsWaitsForTheBrokers(t *testing.T) {
	address := porttest.Address(t)
	done := make(chan error, 1)
	go func() {
		done <- kafka.EnsureTopics(t.Context(), []string{address}, []knative.Topic{{Name: "late", Partitions: 2, Replicas: 1}})
	}()
	// It has been refused at least once by the time one of the test's own attempts was.
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, kafka.EnsureTopics(short, []string{address}, nil), address)

	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(portOf(t, address)))
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	require.NoError(t, <-done)
	assert.Len(t, cluster.PartitionInfos("late"), 2)
}

func TestEnsureTopicsFailsAtOnceOnPermanentErrors(t *testing.T) {
	c := kafkatest.Start(t)
	err := kafka.EnsureTopics(t.Context(), c.Brokers, []knative.Topic{{Name: c.Prefix + "none", Partitions: 0, Replicas: 1}})
	require.ErrorIs(t, err, sarama.ErrInvalidPartitions)
	require.ErrorContains(t, err, c.Prefix+"none")
}

func TestTopicsThatTakeSmallerRecordsThanDeclaredAreFoundAndWidened(t *testing.T) {
	c := kafkatest.Start(t)
	size := func(name, bytes string) knative.Topic {
		return knative.Topic{Name: c.Prefix + name, Partitions: 1, Replicas: 1, Config: map[string]string{"max.message.bytes": bytes}}
	}
	unsaid := knative.Topic{Name: c.Prefix + "unsaid", Partitions: 1, Replicas: 1}
	require.NoError(t, kafka.EnsureTopics(t.Context(), c.Brokers, []knative.Topic{
		{Name: c.Prefix + "default", Partitions: 1, Replicas: 1}, size("small", "1000"), size("large", "3000000"), unsaid,
	}))
	wanted := []knative.Topic{size("default", "1179648"), size("small", "1179648"), size("large", "1179648"), unsaid}

	small, err := kafka.Undersized(c.Brokers, wanted)
	require.NoError(t, err)
	assert.ElementsMatch(t, wanted[:2], small)
	assert.Equal(t, "kafka-configs.sh --bootstrap-server a:1,b:2 --alter --entity-type topics --entity-name "+c.Prefix+"small --add-config max.message.bytes=1179648",
		kafka.WidenCommand([]string{"a:1", "b:2"}, wanted[1]))

	require.NoError(t, kafka.Widen(c.Brokers, small))
	require.Eventually(t, func() bool {
		small, err := kafka.Undersized(c.Brokers, wanted)
		return err == nil && len(small) == 0
	}, patience, 20*time.Millisecond)
}
