package kafka_test

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/observe/exposition"
	"example.com/orders/functions/internal/observe/metrics"
	"example.com/orders/functions/internal/testkit/kafkatest"
)

const lost = "records lost: they were removed before they were handled"

// losses keeps the losses that a source reports.
type losses struct {
	mu  sync.Mutex
	all []kafka.Loss
	err error // the error of recording one
}

func (l *losses) record(_ context.Context, loss kafka.Loss) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		err := l.err
		l.err = nil
		return err
	}
	l.all = append(l.all, loss)
	return nil
}

func (l *losses) list() []kafka.Loss {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]kafka.Loss{}, l.all...)
}

// watched returns options with everything that reports losses: their record, the metrics and the log.
func watched(t *testing.T, c kafkatest.Cluster, topic string, p *probe) (o kafka.SourceOptions, l *losses, book *logbook) {
	t.Helper()
	o, l, book = options(t, c, topic, p), &losses{}, newLogbook()
	o.Lost, o.Metrics, o.Log = l.record, exposition.New().Metrics, slog.New(book)
	return o, l, book
}

// numbered returns facts with numbers as ids, and with as many keys.
func numbered(from, to int, data string) (batch []event.Event) {
	for n := from; n < to; n++ {
		batch = append(batch, fact(strconv.Itoa(n), strconv.Itoa(n), data))
	}
	return batch
}

// remove deletes the records of partition 0 before an offset, as a topic's retention does.
func remove(t *testing.T, c kafkatest.Cluster, topic string, before int64) {
	t.Helper()
	require.NoError(t, admin(t, c).DeleteRecords(topic, map[int32]int64{0: before}))
}

func assertLost(t *testing.T, m *metrics.Metrics, topic string, n int) {
	t.Helper()
	assert.Equal(t, map[metrics.Consumer]int{{Topic: topic, Function: "reserve-stock"}: n}, m.Lost())
}

func TestRecordsRemovedBeforeTheirConsumerStartedAreReported(t *testing.T) {
	c := kafkatest.Start(t)
	name := topic(t, c, "order.created", 1)
	producer := newProducer(t, c)
	publish(t, producer, numbered(0, 5, "x")...)
	p := newProbe(nil)
	o, l, book := watched(t, c, name, p)
	r := start(t, o)
	p.awaitHandled(t, "0", "1", "2", "3", "4")
	r.stop(t)
	publish(t, producer, numbered(5, 15, "x")...)
	remove(t, c, name, 12)

	r = start(t, o)

	p.awaitHandled(t, "12", "13", "14")
	r.stop(t)
	assert.NotContains(t, p.deliveries(), "11")
	assert.Equal(t, []kafka.Loss{{Topic: name, Partition: 0, Consumer: "reserve-stock", From: 5, To: 12}}, l.list())
	assert.Equal(t, 1, book.count(lost))
	assertLost(t, o.Metrics, name, 7)
	assert.EqualValues(t, 15, committed(t, c, o))

	r = start(t, o)
	r.awaitJoined(t)
	r.stop(t)
	assert.Equal(t, map[string]int{lost: 1}, book.all(), "and nothing else, now or before")
}

func TestRecordsRemovedBeforeARunningConsumerReadsThemAreReported(t *testing.T) {
	const all = 20_000 // of a kilobyte each: more than a client reads ahead
	c := kafkatest.Start(t)
	name := topic(t, c, "order.created", 1)
	producer := newProducer(t, c)
	for n := 0; n < all; n += 500 {
		publish(t, producer, numbered(n, n+500, strings.Repeat("x", 1000))...)
	}
	letGo := make(chan struct{})
	p := newProbe(func(context.Context, event.Event, int) error { <-letGo; return nil })
	o, l, book := watched(t, c, name, p)
	r := start(t, o)
	p.await(t, "it is at work", func() bool { return len(p.begun) > 0 })
	remove(t, c, name, all-10)
	close(letGo)

	var last []string
	for n := all - 10; n < all; n++ {
		last = append(last, strconv.Itoa(n))
	}
	p.awaitHandled(t, last...)

	r.stop(t)
	require.Len(t, l.list(), 1)
	loss := l.list()[0]
	assert.EqualValues(t, all-10, loss.To)
	handled := map[string]bool{}
	for _, id := range p.deliveries() {
		handled[id] = true
	}
	assert.EqualValues(t, all-len(handled), loss.To-loss.From, "all that was read is handled")
	assert.Equal(t, map[string]int{lost: 1}, book.all(), "nothing else is wrong")
	assertLost(t, o.Metrics, name, int(loss.To-loss.From))
	assert.EqualValues(t, all, committed(t, c, o))
}

func TestSourceContinuesOnlyAfterALossIsRecorded(t *testing.T) {
	c := kafkatest.Start(t)
	name := topic(t, c, "order.created", 1)
	producer := newProducer(t, c)
	p := newProbe(nil)
	o, l, book := watched(t, c, name, p)
	l.err = errBroken
	publish(t, producer, numbered(0, 1, "x")...)
	r := start(t, o)
	p.awaitHandled(t, "0")
	r.stop(t)
	publish(t, producer, numbered(1, 3, "x")...)
	remove(t, c, name, 2)

	r = start(t, o)

	p.awaitHandled(t, "2")
	r.stop(t)
	assert.Equal(t, []kafka.Loss{{Topic: name, Consumer: "reserve-stock", From: 1, To: 2}}, l.list())
	assert.Equal(t, 1, book.count(lost))
	assert.Equal(t, 1, book.count("source lost its brokers, reconnecting"), "with the reason")
	assertLost(t, o.Metrics, name, 1)
}

// A partition without records has a committed offset from the first start on.
func TestTheRemovalOfAPartitionsFirstRecordsIsReported(t *testing.T) {
	c := kafkatest.Start(t)
	name := topic(t, c, "order.created", 1)
	p := newProbe(nil)
	o, l, _ := watched(t, c, name, p)
	r := start(t, o)
	r.awaitJoined(t)
	r.stop(t)
	publish(t, newProducer(t, c), numbered(0, 3, "x")...)
	remove(t, c, name, 2)

	start(t, o)

	p.awaitHandled(t, "2")
	assert.Equal(t, []kafka.Loss{{Topic: name, Consumer: "reserve-stock", From: 0, To: 2}}, l.list())
}

func TestANewConsumerHasLostNothing(t *testing.T) {
	c := kafkatest.Start(t)
	name := topic(t, c, "order.created", 1)
	publish(t, newProducer(t, c), numbered(0, 3, "x")...)
	remove(t, c, name, 2)
	p := newProbe(nil)
	o, l, book := watched(t, c, name, p)

	start(t, o)

	p.awaitHandled(t, "2")
	assert.Empty(t, l.list())
	assert.Zero(t, book.count(lost))
	assert.Equal(t, 1, book.count("group has no committed offset, as at its first start or after the brokers' offset retention: records removed before the oldest one may not have been handled"))
}

// Offsets of transaction markers are not records, so their absence is not a loss.
func TestGapsBetweenRecordsAreNoLoss(t *testing.T) {
	c := kafkatest.Start(t)
	name := topic(t, c, "order.created", 1)
	config := sarama.NewConfig()
	config.Version = sarama.V3_6_0_0
	config.Producer.Idempotent, config.Net.MaxOpenRequests, config.Producer.RequiredAcks = true, 1, sarama.WaitForAll
	config.Producer.Return.Successes = true
	config.Producer.Transaction.ID = c.Prefix + "tx"
	producer, err := sarama.NewSyncProducer(c.Brokers, config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = producer.Close() })
	for n := range 3 {
		require.NoError(t, producer.BeginTxn())
		m, err := kafka.Encode(t.Context(), fact(strconv.Itoa(n), "a", "x"))
		require.NoError(t, err)
		m.Topic = name
		_, _, err = producer.SendMessage(m)
		require.NoError(t, err)
		require.NoError(t, producer.CommitTxn())
	}
	p := newProbe(nil)
	o, l, book := watched(t, c, name, p)
	for range 2 {
		r := start(t, o)
		p.awaitHandled(t, "0", "1", "2")
		r.awaitJoined(t)
		r.stop(t)
	}
	assert.Equal(t, []string{"0", "1", "2"}, p.deliveries())
	assert.Empty(t, l.list())
	assert.Empty(t, book.all())
}

// After a topic was recreated, or brokers were killed before they had written everything.
func TestAnOffsetBeyondTheNewestRecordIsReportedAndCommitsContinue(t *testing.T) {
	c := kafkatest.Start(t)
	name := topic(t, c, "order.created", 1)
	p := newProbe(nil)
	o, l, book := watched(t, c, name, p)
	r := start(t, o)
	r.awaitJoined(t)
	r.stop(t)
	commit(t, c, o, 50)
	publish(t, newProducer(t, c), numbered(0, 3, "x")...)

	r = start(t, o)

	p.awaitHandled(t, "0", "1", "2")
	r.stop(t)
	assert.EqualValues(t, 3, committed(t, c, o))
	assert.Empty(t, l.list())
	assert.Equal(t, map[string]int{"committed offset is beyond the newest record: the topic was recreated, or its brokers have lost records": 1}, book.all())
}

// commit sets the committed offset of a group in partition 0.
func commit(t *testing.T, c kafkatest.Cluster, o kafka.SourceOptions, offset int64) {
	t.Helper()
	config := sarama.NewConfig()
	config.Version = sarama.V3_6_0_0
	client, err := sarama.NewClient(c.Brokers, config)
	require.NoError(t, err)
	defer func() { require.NoError(t, client.Close()) }()
	offsets, err := sarama.NewOffsetManagerFromClient(o.Spec.Group, client)
	require.NoError(t, err)
	partition, err := offsets.ManagePartition(o.Spec.Topic, 0)
	require.NoError(t, err)
	partition.MarkOffset(offset, "")
	offsets.Commit()
	require.NoError(t, partition.Close())
	require.NoError(t, offsets.Close())
	require.Equal(t, offset, committed(t, c, o))
}
