package kafka_test

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/functions/internal/testkit/porttest"
	"example.com/orders/knative"
)

// patience bounds every wait for a fact.
const patience = 40 * time.Second

var silent = slog.New(slog.DiscardHandler)

func portOf(t *testing.T, address string) int {
	t.Helper()
	_, text, err := net.SplitHostPort(address)
	require.NoError(t, err)
	port, err := strconv.Atoi(text)
	require.NoError(t, err)
	return port
}

func admin(t *testing.T, c kafkatest.Cluster) sarama.ClusterAdmin {
	t.Helper()
	config := sarama.NewConfig()
	config.Version = sarama.V3_6_0_0
	a, err := sarama.NewClusterAdmin(c.Brokers, config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = a.Close() })
	return a
}

// topic creates a topic and its dead-letter topic, with the prefix of the test.
func topic(t *testing.T, c kafkatest.Cluster, name string, partitions int32) string {
	t.Helper()
	full := c.Prefix + name
	require.NoError(t, kafka.EnsureTopics(t.Context(), c.Brokers, []knative.Topic{
		{Name: full, Partitions: partitions, Replicas: 1}, {Name: full + ".dlq", Partitions: 1, Replicas: 1},
	}))
	return full
}

func newProducer(t *testing.T, c kafkatest.Cluster) *kafka.Producer {
	t.Helper()
	p := kafka.NewProducer(c.Brokers, c.Prefix, silent)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// fact is an order.created with an id, the key of its record, and data.
func fact(id, key, data string) event.Event {
	e := event.New()
	e.SetID(id)
	e.SetType("order.created")
	e.SetSource("/orders")
	e.SetDataContentType("text/plain")
	e.DataEncoded = []byte(data)
	if key != "" {
		e.SetExtension("partitionkey", key)
	}
	return e
}

func publish(t *testing.T, p *kafka.Producer, batch ...event.Event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for i, o := range p.Publish(ctx, batch) {
		require.NoError(t, o.Err, batch[i].ID())
	}
}

// broker is an in-process broker that keeps its data and its port when it stops.
type broker struct {
	kafkatest.Cluster
	dir  string
	port int
}

func startBroker(t *testing.T) *broker {
	t.Helper()
	b := &broker{dir: t.TempDir()}
	porttest.Try(t, func(port int) (err error) {
		b.port = port
		b.Fake, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(port), kfake.DataDir(b.dir))
		return err
	})
	b.Brokers = b.Fake.ListenAddrs()
	t.Cleanup(func() { b.Fake.Close() })
	return b
}

func (b *broker) stop() { b.Fake.Close() }

func (b *broker) restart(t *testing.T) {
	t.Helper()
	var err error
	b.Fake, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(b.port), kfake.DataDir(b.dir))
	require.NoError(t, err)
}

// logbook is a slog.Handler that counts messages from level Info on.
type logbook struct {
	slog.Handler
	mu     sync.Mutex
	counts map[string]int
}

func newLogbook() *logbook {
	return &logbook{Handler: slog.DiscardHandler, counts: map[string]int{}}
}

func (l *logbook) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

func (l *logbook) WithAttrs([]slog.Attr) slog.Handler { return l }

func (l *logbook) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[r.Message]++
	return nil
}

func (l *logbook) count(message string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts[message]
}

func (l *logbook) all() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.counts)
}
