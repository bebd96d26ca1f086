package kafka_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/functions/internal/testkit/porttest"
)

var produce = []kmsg.Key{kmsg.Produce}

func TestPublishChoosesPartitionsLikeJava(t *testing.T) {
	const partitions = 97
	c := kafkatest.Fake(t)
	topic(t, c, "order.created", partitions)
	p := newProducer(t, c)
	// The hashes are from the tests of org.apache.kafka.common.utils.Utils.murmur2.
	for key, hash := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string":                       -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
	} {
		outcome := p.Publish(t.Context(), []event.Event{fact("1", key, "x")})[0]
		require.NoError(t, outcome.Err)
		assert.Equal(t, (hash&0x7fffffff)%partitions, outcome.Partition, key)
	}
}

func TestPublishAnswersForEachEventInItsOrder(t *testing.T) {
	c := kafkatest.Start(t)
	name := topic(t, c, "order.created", 3)
	p := newProducer(t, c)
	var batch []event.Event
	for i := range 200 {
		batch = append(batch, fact(strconv.Itoa(i), fmt.Sprintf("key-%d", i), "x"))
	}
	outcomes := p.Publish(t.Context(), batch)
	type place struct {
		partition int32
		offset    int64
	}
	stored := map[place]string{}
	for _, m := range c.Records(t, name, len(batch)) {
		stored[place{m.Partition, m.Offset}] = kafka.Decode(m, "", "").ID()
	}
	require.Len(t, outcomes, len(batch))
	for i, o := range outcomes {
		require.NoError(t, o.Err)
		require.Equal(t, batch[i].ID(), stored[place{o.Partition, o.Offset}])
	}
}

func TestPublishOfNothingNeedsNoBroker(t *testing.T) {
	p := kafka.NewProducer([]string{porttest.Address(t)}, "", silent)
	assert.Empty(t, p.Publish(t.Context(), nil))
	require.NoError(t, p.Close())
}

func TestPublishPutsThePrefixBeforeTheType(t *testing.T) {
	c := kafkatest.Start(t)
	name := topic(t, c, "order.created", 1)
	require.True(t, strings.HasSuffix(name, "order.created"))
	prefixed := kafka.NewProducer(c.Brokers, strings.TrimSuffix(name, "created"), silent)
	t.Cleanup(func() { require.NoError(t, prefixed.Close()) })
	e := fact("1", "k", "x")
	e.SetType("created")
	publish(t, prefixed, e)
	assert.Equal(t, "created", kafka.Decode(c.Records(t, name, 1)[0], "", "").Type(), "the type has no prefix")
}

func TestPublishFindsTheOneThatIsTooLarge(t *testing.T) {
	c := kafkatest.Start(t)
	name := topic(t, c, "order.created", 1)
	p := newProducer(t, c)
	var batch []event.Event
	for i := range 20 {
		batch = append(batch, fact(strconv.Itoa(i), fmt.Sprintf("key-%d", i), "small"))
	}
	batch[7] = fact("7", "key-7", strings.Repeat("x", 2<<20))

	for i, o := range p.Publish(t.Context(), batch) {
		if i == 7 {
			require.ErrorIs(t, o.Err, outbox.ErrTooLarge)
			require.NotErrorIs(t, o.Err, outbox.ErrRefused)
			continue
		}
		require.NoError(t, o.Err, i)
	}
	publish(t, p, fact("after", "k", "small"))
	assert.Len(t, c.Records(t, name, 20), 20)
}

func TestPublishTakesABatchThatIsTooLargeOnlyInSum(t *testing.T) {
	c := kafkatest.Start(t)
	topic(t, c, "order.created", 1)
	var batch []event.Event
	for i := range 5 {
		batch = append(batch, fact(strconv.Itoa(i), "", strings.Repeat("x", 400<<10)))
	}
	publish(t, newProducer(t, c), batch...)
}

func TestPublishFindsTheOneThatIsRefused(t *testing.T) {
	c := kafkatest.Fake(t)
	name := topic(t, c, "order.created", 1)
	c.Fake.Fault(kfake.Fault{Keys: produce, Topic: name, Err: kerr.InvalidRecord, Count: -1, When: func(request kmsg.Request) bool {
		for _, topic := range request.(*kmsg.ProduceRequest).Topics {
			for _, partition := range topic.Partitions {
				if bytes.Contains(partition.Records, []byte("offence")) {
					return true
				}
			}
		}
		return false
	}})
	outcomes := newProducer(t, c).Publish(t.Context(), []event.Event{fact("1", "a", "fine"), fact("2", "b", "offence"), fact("3", "c", "fine")})

	require.NoError(t, outcomes[0].Err)
	require.ErrorIs(t, outcomes[1].Err, outbox.ErrRefused)
	require.NoError(t, outcomes[2].Err, "an innocent record of the same batch is no attempt the worse")
}

func TestPublishRefusesInvalidEvents(t *testing.T) {
	c := kafkatest.Start(t)
	topic(t, c, "order.created", 1)
	outcomes := newProducer(t, c).Publish(t.Context(), []event.Event{fact("", "a", "no id"), fact("2", "b", "fine")})
	require.ErrorIs(t, outcomes[0].Err, outbox.ErrRefused)
	require.NoError(t, outcomes[1].Err)
}

func TestPublishDoesNotBlameTheEventForTheBroker(t *testing.T) {
	for name, fault := range map[string]*kerr.Error{
		"not the leader": kerr.NotLeaderForPartition, "too few replicas": kerr.NotEnoughReplicas, "timed out": kerr.RequestTimedOut,
		"unknown topic": kerr.UnknownTopicOrPartition, "unknown error": kerr.UnknownServerError, "fenced": kerr.InvalidProducerEpoch,
		"full disk": kerr.KafkaStorageError,
	} {
		t.Run(name, func(t *testing.T) {
			c := kafkatest.Fake(t)
			topic(t, c, "order.created", 1)
			p := newProducer(t, c)
			handle := c.Fake.Fault(kfake.Fault{Keys: produce, Err: fault, Count: -1})
			err := p.Publish(t.Context(), []event.Event{fact("1", "k", "x")})[0].Err
			require.Error(t, err)
			require.NotErrorIs(t, err, outbox.ErrRefused)
			require.NotErrorIs(t, err, outbox.ErrTooLarge)
			handle.Remove()
			publish(t, p, fact("1", "k", "x"))
		})
	}
}

// mute is a broker that accepts connections and never answers.
func mute(t *testing.T) (address string, connected <-chan struct{}) {
	t.Helper()
	var listener net.Listener
	porttest.Try(t, func(port int) (err error) {
		listener, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		return err
	})
	seen := make(chan struct{}, 100)
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = connection.Close() })
			seen <- struct{}{}
		}
	}()
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().String(), seen
}

func TestPublishWaitsForADeadBrokerNoLongerThanItsContext(t *testing.T) {
	address, connected := mute(t)
	p := kafka.NewProducer([]string{address}, "", silent)
	long, cancel := context.WithCancel(t.Context())
	defer cancel()
	patient := make(chan error, 1)
	go func() { patient <- p.Publish(long, []event.Event{fact("1", "k", "x")})[0].Err }()
	<-connected

	short, end := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer end()
	err := p.Publish(short, []event.Event{fact("2", "k", "x")})[0].Err
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, outbox.ErrRefused)
	require.NoError(t, p.Close(), "Close does not wait for the one who connects")
	assert.Empty(t, patient, "which is before the timeouts of the network")
	cancel()
	require.ErrorIs(t, <-patient, context.Canceled)
}

func TestPublishSendsNothingAfterItsContext(t *testing.T) {
	c := kafkatest.Fake(t)
	name := topic(t, c, "order.created", 1)
	p := newProducer(t, c)
	publish(t, p, fact("1", "k", "x"))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, p.Publish(ended, []event.Event{fact("2", "k", "x")})[0].Err, context.Canceled)
	publish(t, p, fact("3", "k", "x"))
	records := c.Records(t, name, 2)
	assert.Equal(t, "3", kafka.Decode(records[1], "", "").ID())
}

func TestPublishGivesUpOnABrokerThatFallsSilent(t *testing.T) {
	c := kafkatest.Fake(t)
	topic(t, c, "order.created", 1)
	p := newProducer(t, c)
	publish(t, p, fact("1", "k", "x"))
	silence := make(chan struct{})
	defer close(silence)
	asleep := false
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c.Fake.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		if asleep {
			return nil, nil, false
		}
		asleep = true
		cancel() // not before the request has arrived: the next one must be answered
		c.Fake.SleepControl(func() { <-silence })
		return nil, nil, false
	})
	require.ErrorIs(t, p.Publish(ctx, []event.Event{fact("2", "k", "x")})[0].Err, context.Canceled)
	publish(t, p, fact("3", "k", "x")) // on a new connection
}

func TestPublishRecoversWithItsBroker(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	name := topic(t, b.Cluster, "order.created", 1)
	p := newProducer(t, b.Cluster)
	publish(t, p, fact("1", "k", "x"))
	b.stop()
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		err := p.Publish(ctx, []event.Event{fact("2", "k", "x")})[0].Err
		cancel()
		require.Error(t, err)
		require.NotErrorIs(t, err, outbox.ErrRefused)
		require.NotErrorIs(t, err, outbox.ErrTooLarge)
	}
	b.restart(t)
	publish(t, p, fact("2", "k", "x"))
	records := b.Records(t, name, 2)
	assert.Equal(t, "1", kafka.Decode(records[0], "", "").ID())
}

func TestProducerRefusesEverythingOnceClosed(t *testing.T) {
	c := kafkatest.Start(t)
	topic(t, c, "order.created", 1)
	p := kafka.NewProducer(c.Brokers, c.Prefix, silent)
	publish(t, p, fact("1", "k", "x"))
	require.NoError(t, p.Close())
	require.NoError(t, p.Close())
	err := p.Publish(t.Context(), []event.Event{fact("2", "k", "x")})[0].Err
	require.ErrorContains(t, err, "closed")
	require.NotErrorIs(t, err, outbox.ErrRefused)
}

func TestPublishKeepsItsWordUnderFaultsAndManyCallers(t *testing.T) {
	c := kafkatest.Fake(t)
	name := topic(t, c, "order.created", 3)
	p := newProducer(t, c)
	requests := 0
	c.Fake.Fault(kfake.Fault{Keys: produce, Topic: name, Err: kerr.UnknownServerError, Count: -1, When: func(kmsg.Request) bool {
		requests++
		return requests%5 == 0
	}})
	var mu sync.Mutex
	acknowledged := map[string]bool{}
	var callers sync.WaitGroup
	for caller := range 8 {
		callers.Go(func() {
			for n := range 20 {
				batch := []event.Event{fact(fmt.Sprintf("%d/%d/a", caller, n), "a", "x"), fact(fmt.Sprintf("%d/%d/b", caller, n), "b", "x")}
				for i, o := range p.Publish(t.Context(), batch) {
					if o.Err == nil {
						mu.Lock()
						acknowledged[batch[i].ID()] = true
						mu.Unlock()
					}
				}
			}
		})
	}
	callers.Wait()
	require.NotEmpty(t, acknowledged)
	var total int64
	for _, info := range c.Fake.PartitionInfos(name) {
		total += info.HighWatermark
	}
	stored := map[string]bool{}
	for _, m := range c.Records(t, name, int(total)) {
		stored[kafka.Decode(m, "", "").ID()] = true
	}
	for id := range acknowledged {
		assert.True(t, stored[id], id)
	}
}

func TestWriteKeepsNilApartFromEmpty(t *testing.T) {
	c := kafkatest.Start(t)
	name := topic(t, c, "order.created", 1)
	p := newProducer(t, c)
	errs := p.Write(t.Context(), []*sarama.ProducerMessage{{Topic: name}, {Topic: name, Key: sarama.ByteEncoder{}, Value: sarama.ByteEncoder{}}})
	require.Equal(t, []error{nil, nil}, errs)
	records := c.Records(t, name, 2)
	assert.Nil(t, records[0].Key)
	assert.Nil(t, records[0].Value)
	assert.NotNil(t, records[1].Key)
	assert.NotNil(t, records[1].Value)
}
