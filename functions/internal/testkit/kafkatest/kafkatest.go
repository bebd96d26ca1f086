// Package kafkatest gives each test its own topics: on the brokers of KAFKA_BROKERS or, for tests of processes, of
// KAFKA_GUARDED_BROKERS, or on an in-process cluster.
package kafkatest

import (
	"context"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"example.com/orders/functions/internal/messaging/scram"
	"example.com/orders/functions/internal/testkit/porttest"
)

// Cluster has the topics of a test.
type Cluster struct {
	Brokers []string
	// Prefix precedes the names of the test's topics and groups.
	Prefix string
	// Fake is the in-process cluster, in which a test injects faults; nil for real brokers.
	Fake *kfake.Cluster
	// Password is that of the administrator of brokers that let in only who logs in, empty for others.
	Password string
}

// What clients of a guarded cluster log in with.
const (
	mechanism     = sarama.SASLTypeSCRAMSHA512
	administrator = "admin"
)

// Start returns a cluster: the one of KAFKA_BROKERS, or an in-process one that ends with the test.
func Start(t testing.TB) Cluster {
	t.Helper()
	c := Cluster{Prefix: newPrefix()}
	if brokers := os.Getenv("KAFKA_BROKERS"); brokers != "" {
		c.Brokers = strings.Split(brokers, ",")
		return c
	}
	return c.fake(t)
}

// ForProcesses is Start for tests whose clients are processes with the variables of Environ. It prefers the cluster of
// KAFKA_GUARDED_BROKERS, which lets in only who logs in, and allows others than admin, who has KAFKA_GUARDED_PASSWORD, only
// what they have been given.
func ForProcesses(t testing.TB) Cluster {
	t.Helper()
	if brokers := os.Getenv(guardedVariable); brokers != "" {
		return Cluster{Prefix: newPrefix(), Brokers: strings.Split(brokers, ","), Password: os.Getenv("KAFKA_GUARDED_PASSWORD")}
	}
	return Start(t)
}

// guardedVariable names the variable with the guarded brokers.
const guardedVariable = "KAFKA_GUARDED_BROKERS"

// Given returns whether the environment names the brokers of ForProcesses.
func Given() bool { return os.Getenv("KAFKA_BROKERS") != "" || os.Getenv(guardedVariable) != "" }

// Guarded returns an in-process cluster that is guarded like that of KAFKA_GUARDED_BROKERS.
func Guarded(t testing.TB) Cluster {
	t.Helper()
	c := Cluster{Prefix: newPrefix(), Password: "admin-secret"}
	return c.fake(t, kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser(mechanism, administrator, c.Password))
}

func newPrefix() string { return "t" + strings.ReplaceAll(uuid.NewString(), "-", "")[:12] + "." }

// Environ has the variables of a process with the topics of the test. On a guarded cluster each relay and source of a harness
// logs in as its own principal.
func (c Cluster) Environ() []string {
	environ := []string{"KAFKA_BROKERS=" + strings.Join(c.Brokers, ","), "KAFKA_TOPIC_PREFIX=" + c.Prefix}
	if c.Password != "" {
		environ = append(environ, "KAFKA_SASL_MECHANISM="+mechanism, "KAFKA_SASL_USER="+administrator, "KAFKA_SASL_PASSWORD="+c.Password,
			"KAFKA_USERS_SECRET=secret-of-the-tests")
	}
	return environ
}

// Config returns the settings of a client, which is the administrator of a guarded cluster.
func (c Cluster) Config() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.V3_6_0_0
	config.Producer.Return.Successes = true
	if c.Password != "" {
		config.Net.SASL.Enable, config.Net.SASL.Mechanism = true, mechanism
		config.Net.SASL.User, config.Net.SASL.Password = administrator, c.Password
		config.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &scram.Client{Mechanism: mechanism} }
	}
	return config
}

// Fake returns an in-process cluster even if KAFKA_BROKERS is set, for tests that inject faults.
func Fake(t testing.TB) Cluster {
	t.Helper()
	return Cluster{}.fake(t)
}

func (c Cluster) fake(t testing.TB, options ...kfake.Opt) Cluster {
	t.Helper()
	porttest.Try(t, func(port int) (err error) {
		c.Fake, err = kfake.NewCluster(append(options, kfake.NumBrokers(1), kfake.Ports(port))...)
		return err
	})
	t.Cleanup(c.Fake.Close)
	c.Brokers = c.Fake.ListenAddrs()
	return c
}

// Advertise makes an in-process broker advertise a foreign address, until end is called; asked gets a token for each such
// answer.
func (c Cluster) Advertise(t testing.TB, address string) (asked chan struct{}, end func()) {
	t.Helper()
	host, text, err := net.SplitHostPort(address)
	require.NoError(t, err)
	port, err := strconv.ParseInt(text, 10, 32)
	require.NoError(t, err)
	var ended atomic.Bool
	asked = make(chan struct{}, 1000)
	c.Fake.ControlKey(int16(kmsg.Metadata), func(request kmsg.Request) (kmsg.Response, error, bool) {
		if ended.Load() {
			return nil, nil, false
		}
		c.Fake.KeepControl()
		select {
		case asked <- struct{}{}:
		default: // the channel is full
		}
		answer := request.ResponseKind().(*kmsg.MetadataResponse)
		broker := kmsg.NewMetadataResponseBroker()
		broker.NodeID, broker.Host, broker.Port = 0, host, int32(port)
		answer.Brokers, answer.ControllerID = []kmsg.MetadataResponseBroker{broker}, 0
		return answer, nil, true
	})
	return asked, func() { ended.Store(true) }
}

// All returns the records that a topic has now.
func (c Cluster) All(t testing.TB, topic string) []*sarama.ConsumerMessage {
	t.Helper()
	client, err := sarama.NewClient(c.Brokers, c.Config())
	require.NoError(t, err)
	defer func() { require.NoError(t, client.Close()) }()
	partitions, err := client.Partitions(topic)
	require.NoError(t, err)
	n := int64(0)
	for _, partition := range partitions {
		oldest, err := client.GetOffset(topic, partition, sarama.OffsetOldest)
		require.NoError(t, err)
		newest, err := client.GetOffset(topic, partition, sarama.OffsetNewest)
		require.NoError(t, err)
		n += newest - oldest
	}
	return c.Records(t, topic, int(n))
}

// Records reads the partitions of a topic from their start until n records were read, and fails if they do not arrive within
// half a minute. The records of one partition are in order.
func (c Cluster) Records(t testing.TB, topic string, n int) []*sarama.ConsumerMessage {
	t.Helper()
	consumer, err := sarama.NewConsumer(c.Brokers, c.Config())
	require.NoError(t, err)
	defer func() { require.NoError(t, consumer.Close()) }()
	partitions, err := consumer.Partitions(topic)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	all := make(chan *sarama.ConsumerMessage)
	for _, partition := range partitions {
		one, err := consumer.ConsumePartition(topic, partition, sarama.OffsetOldest)
		require.NoError(t, err)
		defer one.AsyncClose()
		go func() {
			for m := range one.Messages() {
				select {
				case all <- m:
				case <-ctx.Done():
				}
			}
		}()
	}
	records := make([]*sarama.ConsumerMessage, 0, n)
	for len(records) < n {
		select {
		case m := <-all:
			records = append(records, m)
		case <-ctx.Done():
			require.Failf(t, "too few records", "%s has %d of %d", topic, len(records), n)
		}
	}
	return records
}
