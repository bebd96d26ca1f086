package kafka_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/testkit/kafkatest"
)

func hits(t *testing.T, handle *kfake.FaultHandle, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, handle.Wait(ctx, n))
}

func TestSourceLosesNothingWhileDeadLettersCannotBeWritten(t *testing.T) {
	t.Parallel()
	c := kafkatest.Fake(t)
	name := topic(t, c, "order.created", 1)
	publish(t, newProducer(t, c), fact("bad", "a", "x"), fact("good", "b", "x"))
	p := newProbe(func(_ context.Context, e event.Event, _ int) error {
		if e.ID() == "bad" {
			return delivery.Result(delivery.Poison(errBroken))
		}
		return nil
	})
	o := options(t, c, name, p)
	book := newLogbook()
	o.Log, o.Drain = slog.New(book), 0
	fault := c.Fake.Fault(kfake.Fault{Keys: produce, Topic: name + ".dlq", Err: kerr.UnknownServerError, Count: -1})
	r := start(t, o)
	hits(t, fault, 4)
	p.awaitHandled(t, "good")
	r.stop(t)
	assert.Contains(t, []int64{-1, 0}, committed(t, c, o), "not before the dead letter is acknowledged")
	assert.Equal(t, 1, book.count("dead letter not written, retrying"), "only the first failure is logged")

	o.Drain = 10 * time.Second // the dead letter is in Kafka before the source gets the acknowledgement
	r = start(t, o)
	hits(t, fault, fault.Hits()+2)
	fault.Remove()

	assert.Equal(t, "bad", header(c.Records(t, name+".dlq", 1)[0], "ce_id"))
	p.await(t, "good is delivered again", func() bool { return p.attempts["good"] == 2 })
	r.stop(t)
	assert.EqualValues(t, 2, committed(t, c, o))
	assert.EqualValues(t, 1, size(t, c, name+".dlq"))
	assert.Equal(t, 2, p.attempts["bad"], "once a start")
}

func TestSourceReconnectsWhenItsBrokerIsBack(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	name := topic(t, b.Cluster, "order.created", 2)
	producer := newProducer(t, b.Cluster)
	publish(t, producer, fact("1", "a", "x"))
	p := newProbe(nil)
	o := options(t, b.Cluster, name, p)
	book := newLogbook()
	o.Log = slog.New(book)
	r := start(t, o)
	p.awaitHandled(t, "1")

	b.stop()
	require.Eventually(t, func() bool { return book.count("source lost its brokers, reconnecting") > 0 }, patience, 10*time.Millisecond)
	assert.False(t, r.source.Joined())
	b.restart(t)
	publish(t, producer, fact("2", "a", "x"))

	p.awaitHandled(t, "2")
	r.awaitJoined(t) // which takes the other partition too
	assert.Equal(t, map[string]int{"source lost its brokers, reconnecting": 1, "source reconnected": 1}, book.all())
}

func TestSourceStartsBeforeItsBroker(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	name := topic(t, b.Cluster, "order.created", 1)
	publish(t, newProducer(t, b.Cluster), fact("1", "a", "x"))
	b.stop()
	p := newProbe(nil)
	o := options(t, b.Cluster, name, p)
	book := newLogbook()
	o.Log = slog.New(book)
	start(t, o)
	require.Eventually(t, func() bool { return book.count("source lost its brokers, reconnecting") > 0 }, patience, 10*time.Millisecond)

	b.restart(t)

	p.awaitHandled(t, "1")
}

func TestSourceEndsWhileItsBrokerIsDown(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	name := topic(t, b.Cluster, "order.created", 1)
	publish(t, newProducer(t, b.Cluster), fact("1", "a", "x"))
	p := newProbe(nil)
	r := start(t, options(t, b.Cluster, name, p))
	p.awaitHandled(t, "1")
	b.stop()
	begin := time.Now()
	r.stop(t)
	assert.Less(t, time.Since(begin), 15*time.Second)
}

func TestSourceWaitsOutBrokersThatRefuseItsCommits(t *testing.T) {
	t.Parallel()
	c := kafkatest.Fake(t)
	name := topic(t, c, "order.created", 1)
	publish(t, newProducer(t, c), fact("1", "a", "x"), fact("2", "a", "x"))
	p := newProbe(nil)
	o := options(t, c, name, p)
	fault := c.Fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Group: o.Spec.Group, Err: kerr.CoordinatorLoadInProgress, Count: 3})
	start(t, o)
	p.awaitHandled(t, "1", "2")
	hits(t, fault, 3)

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := c.Fake.WaitGroupInfo(ctx, o.Spec.Group, func(info *kfake.GroupInfo) bool {
		return info != nil && info.Commits[name][0].Offset == 2
	})
	require.NoError(t, err)
}

func TestSourceDoesNotHurryWhenAClaimCannotBegin(t *testing.T) {
	t.Parallel()
	c := kafkatest.Fake(t)
	name := topic(t, c, "order.created", 1)
	publish(t, newProducer(t, c), fact("1", "a", "x"))
	p := newProbe(nil)
	o := options(t, c, name, p)
	fault := c.Fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Topic: name, Err: kerr.UnknownServerError, Count: -1})
	book := newLogbook()
	o.Log = slog.New(book)
	begin := time.Now()
	r := start(t, o)
	hits(t, fault, 10) // two per attempt
	assert.Greater(t, time.Since(begin), 100*time.Millisecond+200*time.Millisecond+400*time.Millisecond)
	assert.False(t, r.source.Joined())
	fault.Remove()
	p.awaitHandled(t, "1")
	assert.Equal(t, map[string]int{"source lost its brokers, reconnecting": 1, "source reconnected": 1}, book.all())
}

func TestSourceFinishesAttemptsInFlightBeforeARebalance(t *testing.T) {
	t.Parallel()
	c := kafkatest.Fake(t)
	name := topic(t, c, "order.created", 1)
	publish(t, newProducer(t, c), fact("slow", "a", "x"), fact("behind", "a", "x"))
	slow := newHold("slow")
	p := newProbe(slow.handle)
	o := options(t, c, name, p)
	o.Drain = patience
	start(t, o)
	p.awaitBegun(t, "slow")
	joining := c.Fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Group: o.Spec.Group, Count: -1, Observe: true})
	start(t, o)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := c.Fake.WaitGroupInfo(ctx, o.Spec.Group, func(info *kfake.GroupInfo) bool { return info.State == "PreparingRebalance" })
	require.NoError(t, err)
	// The first heartbeat makes the first member give up its partition; by the third it waits for the slow one.
	hits(t, joining, joining.Hits()+3)
	assert.Equal(t, []string{"slow"}, p.deliveries())
	close(slow.letGo)

	p.awaitHandled(t, "slow", "behind")
	_, err = c.Fake.WaitGroupStable(ctx, o.Spec.Group, 2)
	require.NoError(t, err)
	assert.Equal(t, 1, p.attempts["slow"], "it was committed before the partition went on")
}
