// Package kafka produces and consumes CloudEvents over Kafka: the codec between events and records, the producer of the
// relay, and Source, which the harness runs instead of Knative's KafkaSource.
package kafka

import (
	"time"

	"github.com/IBM/sarama"
	"github.com/rcrowley/go-metrics"
)

// sarama measures every request in samples and meters. Nothing here reads them, and they cost a few per cent of the CPU of an
// order.
func init() { metrics.UseNilMetrics = true }

// config is the base configuration of every client.
func config(clientID string) *sarama.Config {
	c := sarama.NewConfig()
	c.ClientID = clientID
	// Set explicitly, since sarama's default changes with its releases: the newest protocol that every broker from 3.x on
	// supports.
	c.Version = sarama.V3_6_0_0
	c.Net.DialTimeout = 3 * time.Second
	c.Net.ReadTimeout = 10 * time.Second
	c.Net.WriteTimeout = 10 * time.Second
	c.Metadata.Retry.Max = 2
	c.Metadata.Retry.Backoff = 200 * time.Millisecond
	c.Metadata.Full = false
	c.ChannelBufferSize = 64
	Apply(c)
	return c
}

func producerConfig() *sarama.Config {
	c := config("orders-relay")
	// Murmur2 as in Java's default partitioner, so that every producer puts a key on the same partition; sarama's default is
	// FNV-1a.
	c.Producer.Partitioner = sarama.NewMurmur2Partitioner
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Idempotent = true
	c.Net.MaxOpenRequests = 1
	c.Producer.Timeout = 5 * time.Second
	c.Producer.Retry.Max = 3
	c.Producer.Retry.Backoff = 100 * time.Millisecond
	// The broker's limit applies, not the client's.
	c.Producer.MaxMessageBytes = int(sarama.MaxRequestSize) / 4
	c.Producer.Return.Successes = true
	c.Producer.Return.Errors = true
	return c
}

// consumerConfig is the configuration of group members that need up to drain to give up their partitions.
func consumerConfig(clientID string, drain time.Duration) *sarama.Config {
	c := config(clientID)
	// The group removes a member that takes longer, and its finished records are delivered again.
	c.Consumer.Group.Rebalance.Timeout = drain + 10*time.Second
	// The broker answers a joining member only once all others have given up theirs.
	c.Net.ReadTimeout = c.Consumer.Group.Rebalance.Timeout + 10*time.Second
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.Offsets.AutoCommit.Interval = time.Second
	c.Consumer.Return.Errors = true
	c.Consumer.Fetch.Min = 1
	// A long poll: a source gets a new record at once. This is also how long a source takes to stop or to begin with a partition,
	// and a shorter one costs CPU while there is nothing to do.
	c.Consumer.MaxWaitTime = time.Second
	c.Consumer.MaxProcessingTime = time.Second
	// A member learns from its heartbeat that the group rebalances, or that its broker is gone.
	c.Consumer.Group.Heartbeat.Interval = time.Second
	c.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategyRange()}
	return c
}
