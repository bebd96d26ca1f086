// Package kafka is what runs CloudEvents over Kafka here: the encoding of events as records and back, the producer of
// the relay, and the local KafkaSource that the harness runs in place of Knative's.
package kafka

import (
	"time"

	"github.com/IBM/sarama"
)

// config is what every client of ours starts from.
func config(clientID string) *sarama.Config {
	c := sarama.NewConfig()
	c.ClientID = clientID
	// Set, since sarama's default follows its release: the newest protocol that every broker from 3.x on speaks.
	c.Version = sarama.V3_6_0_0
	c.Net.DialTimeout = 3 * time.Second
	c.Net.ReadTimeout = 10 * time.Second
	c.Net.WriteTimeout = 10 * time.Second
	c.Metadata.Retry.Max = 2
	c.Metadata.Retry.Backoff = 200 * time.Millisecond
	c.Metadata.Full = false
	c.ChannelBufferSize = 64
	secured.Load().apply(c)
	return c
}

func producerConfig() *sarama.Config {
	c := config("orders-relay")
	// Murmur2 as Java's default partitioner, so that a key is on the same partition whoever produced it; sarama's own
	// default is FNV-1a.
	c.Producer.Partitioner = sarama.NewMurmur2Partitioner
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Idempotent = true
	c.Net.MaxOpenRequests = 1
	c.Producer.Timeout = 5 * time.Second
	c.Producer.Retry.Max = 3
	c.Producer.Retry.Backoff = 100 * time.Millisecond
	// The broker's limit decides, not the client's.
	c.Producer.MaxMessageBytes = int(sarama.MaxRequestSize) / 4
	c.Producer.Return.Successes = true
	c.Producer.Return.Errors = true
	return c
}

// consumerConfig is for members that need up to drain to give their partitions up.
func consumerConfig(clientID string, drain time.Duration) *sarama.Config {
	c := config(clientID)
	// A member that takes longer is thrown out of the group, and what it finished is delivered again.
	c.Consumer.Group.Rebalance.Timeout = drain + 10*time.Second
	// The broker answers a member that joins only when all others have given up theirs.
	c.Net.ReadTimeout = c.Consumer.Group.Rebalance.Timeout + 10*time.Second
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.Offsets.AutoCommit.Interval = 500 * time.Millisecond
	c.Consumer.Return.Errors = true
	c.Consumer.Fetch.Min = 1
	// A long poll: a source hears of a new record at once. It is also how long a source takes to end.
	c.Consumer.MaxWaitTime = 250 * time.Millisecond
	c.Consumer.MaxProcessingTime = time.Second
	// A member hears of a rebalance, or that its broker is gone, by its heartbeat.
	c.Consumer.Group.Heartbeat.Interval = time.Second
	c.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategyRange()}
	return c
}
