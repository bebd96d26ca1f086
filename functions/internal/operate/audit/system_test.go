package audit_test

import (
	"context"
	"database/sql"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/cancelorder"
	"example.com/orders/functions/createorder"
	"example.com/orders/functions/finalizeorder"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/operate/audit"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/notify"
	"example.com/orders/functions/releasestock"
	"example.com/orders/functions/reservestock"
	"example.com/orders/knative"
	"example.com/orders/sql/inventory"
	"example.com/orders/sql/schema"
)

// system is all functions, with relaying and delivery controlled by the test.
type system struct {
	testing.TB
	options  audit.Options
	db       map[string]*sql.DB // by schema
	producer *kafka.Producer
	create   *createorder.Function
	cancel   *cancelorder.Function
	handlers map[string][]func(context.Context, event.Event) error // by type
	sent     []event.Event                                         // sent, but not delivered yet
	keys     int
}

// newTopics creates topics that a test's systems share.
func newTopics(t *testing.T) kafkatest.Cluster {
	t.Helper()
	return newTopicsOf(t, knative.BaseName)
}

func newTopicsOf(t *testing.T, overlay string) kafkatest.Cluster {
	t.Helper()
	return withTopics(t, kafkatest.Start(t), overlay)
}

func withTopics(t *testing.T, c kafkatest.Cluster, overlay string) kafkatest.Cluster {
	t.Helper()
	o, err := audit.Configure(map[string]string{"MYSQL_DSN": "not@tcp(needed)/", "KAFKA_TOPIC_PREFIX": c.Prefix, knative.OverlayVariable: overlay}, 0)
	require.NoError(t, err)
	require.NoError(t, kafka.EnsureTopics(t.Context(), c.Brokers, o.Wiring.Topics))
	return c
}

// start starts a system with 10 units of each of two SKUs.
func start(t *testing.T, c kafkatest.Cluster) *system {
	t.Helper()
	return startOverlay(t, c, knative.BaseName)
}

func startOverlay(t *testing.T, c kafkatest.Cluster, overlay string) *system {
	t.Helper()
	server := mysqltest.Server(t)
	config := mysqltest.Config(server)
	config["KAFKA_BROKERS"], config["KAFKA_TOPIC_PREFIX"] = strings.Join(c.Brokers, ","), c.Prefix
	config[knative.OverlayVariable] = overlay
	s := &system{
		TB: t,
		db: map[string]*sql.DB{}, create: createorder.New(), cancel: cancelorder.New(),
		producer: kafka.NewProducer(c.Brokers, c.Prefix, slog.New(slog.DiscardHandler)),
	}
	t.Cleanup(func() { require.NoError(t, s.producer.Close()) })
	var err error
	s.options, err = audit.Configure(config, 0)
	require.NoError(t, err)
	for _, name := range schema.All {
		s.db[name] = mysqltest.Pool(t, server, name)
	}
	reserve, release, finalize, mail := reservestock.New(), releasestock.New(), finalizeorder.New(), notify.New()
	for _, f := range []functiontest.Function{s.create, s.cancel, reserve, release, finalize, mail} {
		f.Shared().DB, f.Shared().Log = s.db[f.Shared().Schema], slog.New(slog.DiscardHandler)
		functiontest.Start(t, f, nil)
	}
	s.handlers = map[string][]func(context.Context, event.Event) error{
		events.OrderCreatedType:      {reserve.Handle},
		events.InventoryReservedType: {finalize.Handle},
		events.InventoryRejectedType: {finalize.Handle},
		events.OrderConfirmedType:    {mail.Handle},
		events.OrderFailedType:       {mail.Handle, release.Handle},
		events.OrderCanceledType:     {mail.Handle, release.Handle},
	}
	q := inventory.New(s.db[schema.Inventory])
	for _, sku := range []string{"SKU-1", "SKU-2"} {
		_, err := q.EnsureStock(t.Context(), inventory.EnsureStockParams{Sku: sku, UpdatedAt: time.Now()})
		require.NoError(t, err)
		s.exec(schema.Inventory, "UPDATE inventory SET available_qty = 10 WHERE sku = ?", sku)
		require.NoError(t, q.InsertStockLog(t.Context(), inventory.InsertStockLogParams{Sku: sku, Delta: 10, Reason: "set", AvailableAfter: 10, CreatedAt: time.Now()}))
	}
	return s
}

// order places an order of so many units of SKU-1, on two lines, and one of SKU-2.
func (s *system) order(units int64) (id string) {
	s.Helper()
	return s.priced(units, 100)
}

// priced is order with a price of the units on the first line.
func (s *system) priced(units, price int64) (id string) {
	s.Helper()
	s.keys++
	accepted, err := s.create.Create(s.Context(), createorder.Command{
		KeyHash: slices.Concat(make([]byte, 31), []byte{byte(s.keys)}),
		Order: events.CreateOrder{CustomerEmail: "alice@example.com", Items: []events.Item{
			{SKU: "SKU-1", Quantity: units - 1, UnitPrice: price}, {SKU: "SKU-2", Quantity: 1, UnitPrice: 7}, {SKU: "SKU-1", Quantity: 1, UnitPrice: 90},
		}},
	})
	require.NoError(s, err)
	return accepted.OrderID
}

func (s *system) takeBack(id string) {
	s.Helper()
	_, err := s.cancel.Cancel(s.Context(), id, events.Cause{})
	require.NoError(s, err)
}

// Publish sends a batch to Kafka and keeps it for deliver.
func (s *system) Publish(ctx context.Context, batch []event.Event) []outbox.Outcome {
	outcomes := s.producer.Publish(ctx, batch)
	for i, o := range outcomes {
		if o.Err == nil {
			s.sent = append(s.sent, batch[i])
		}
	}
	return outcomes
}

// Close does nothing: the test closes the producer.
func (*system) Close() error { return nil }

// relay sends the events in the outboxes, and returns whether there were any.
func (s *system) relay() bool {
	s.Helper()
	total := 0
	for _, name := range s.options.Wiring.Outboxes() {
		n, err := outbox.Relay{DB: s.db[name], Publisher: s, Now: time.Now}.Sweep(s.Context())
		require.NoError(s, err)
		total += n
	}
	return total > 0
}

// settle relays and delivers until nothing is left, and commits the offsets of every consumer group.
func (s *system) settle() {
	s.Helper()
	for s.relay() {
		sent := s.sent
		s.sent = nil
		for _, e := range sent {
			for _, handle := range s.handlers[e.Type()] {
				require.NoError(s, handle(s.Context(), e))
			}
		}
	}
	s.commit()
}

// committing is held from reading the end of a topic until committing it: tests with shared topics share the groups, and a
// late one must not move a committed offset back.
var committing sync.Mutex

// commit commits the end of its topic for every consumer group.
func (s *system) commit() {
	s.Helper()
	client := s.client()
	admin, err := sarama.NewClusterAdminFromClient(client)
	require.NoError(s, err)
	for _, source := range s.options.Wiring.Sources {
		s.commitOf(client, admin, source)
	}
}

func (s *system) commitOf(client sarama.Client, admin sarama.ClusterAdmin, source knative.KafkaSource) {
	s.Helper()
	committing.Lock()
	defer committing.Unlock()
	partitions, err := client.Partitions(source.Topic)
	require.NoError(s, err)
	ends := map[int32]sarama.OffsetAndMetadata{}
	for _, partition := range partitions {
		end, err := client.GetOffset(source.Topic, partition, sarama.OffsetNewest)
		require.NoError(s, err)
		ends[partition] = sarama.OffsetAndMetadata{Offset: end, LeaderEpoch: -1}
	}
	require.EventuallyWithT(s, func(c *assert.CollectT) { // a group's coordinator may be loading
		answer, err := admin.AlterConsumerGroupOffsets(source.Group, map[string]map[int32]sarama.OffsetAndMetadata{source.Topic: ends}, nil)
		require.NoError(c, err)
		for _, refused := range answer.Errors[source.Topic] {
			require.Equal(c, sarama.ErrNoError, refused)
		}
	}, 30*time.Second, 50*time.Millisecond)
}

func (s *system) client() sarama.Client {
	s.Helper()
	config := sarama.NewConfig()
	config.Version = sarama.V3_6_0_0
	client, err := sarama.NewClient(s.options.Brokers, config)
	require.NoError(s, err)
	s.Cleanup(func() { _ = client.Close() })
	return client
}

// write writes records to Kafka, bypassing the outbox.
func (s *system) write(records ...*sarama.ProducerMessage) {
	s.Helper()
	for _, err := range s.producer.Write(s.Context(), records) {
		require.NoError(s, err)
	}
}

// record returns the record of an event, to be written again.
func (s *system) record(eventType, order string) *sarama.ProducerMessage {
	s.Helper()
	topic := s.options.TopicPrefix + eventType
	client := s.client()
	reader, err := kafka.NewReader(s.options.Brokers, nil)
	require.NoError(s, err)
	defer func() { require.NoError(s, reader.Close()) }()
	spans, err := reader.Spans(topic)
	require.NoError(s, err)
	var found *sarama.ProducerMessage
	for _, span := range spans {
		require.NoError(s, reader.Read(s.Context(), span, func(m *sarama.ConsumerMessage) error {
			if string(m.Key) == order {
				found = &sarama.ProducerMessage{Topic: topic, Key: sarama.ByteEncoder(m.Key), Value: sarama.ByteEncoder(m.Value)}
				for _, h := range m.Headers {
					found.Headers = append(found.Headers, *h)
				}
			}
			return nil
		}))
	}
	require.NoError(s, client.Close())
	require.NotNil(s, found)
	return found
}

// exec changes at least one row directly; a statement that is not about rows changes none.
func (s *system) exec(name, statement string, args ...any) {
	s.Helper()
	result, err := s.db[name].ExecContext(s.Context(), statement, args...)
	require.NoError(s, err)
	n, err := result.RowsAffected()
	require.NoError(s, err)
	if !strings.HasPrefix(statement, "ALTER") {
		require.Positive(s, n, statement)
	}
}

func (s *system) audit() *audit.Report {
	s.Helper()
	report, err := audit.Run(s.Context(), s.options)
	require.NoError(s, err)
	return report
}
