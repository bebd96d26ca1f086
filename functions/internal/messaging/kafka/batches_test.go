package kafka_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/observe/tracing"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/kafkatest"
)

// crowd is a probe that takes batches of events, and records them.
type crowd struct {
	*probe

	mu    sync.Mutex
	calls [][]string
}

func (c *crowd) deliverAll(ctx context.Context, es []event.Event) []error {
	ids, answers := make([]string, len(es)), make([]error, len(es))
	for i, e := range es {
		ids[i] = e.ID()
	}
	c.mu.Lock()
	c.calls = append(c.calls, ids)
	c.mu.Unlock()
	for i, e := range es {
		answers[i] = c.deliver(ctx, e)
	}
	return answers
}

// batched returns the options of a source whose function takes batches of up to size events.
func batched(t *testing.T, c kafkatest.Cluster, topic string, f *crowd, size int) kafka.SourceOptions {
	t.Helper()
	o := options(t, c, topic, f.probe)
	o.Submit = functiontest.Batched(size, f.deliverAll)
	return o
}

// facts returns events with different keys and the ids 000 and so on.
func facts(n int) (ids []string, batch []event.Event) {
	for i := range n {
		ids = append(ids, fmt.Sprintf("%03d", i))
		batch = append(batch, fact(ids[i], ids[i], "x"))
	}
	return ids, batch
}

func TestSourceOfBatchesKeepsTheOrderOfAKeyAndCommitsAll(t *testing.T) {
	c := kafkatest.Start(t)
	name := topic(t, c, "order.created", 1)
	var batch []event.Event
	var ids []string
	for n := range 300 {
		ids = append(ids, fmt.Sprintf("key-%d/%03d", n%40, n))
		batch = append(batch, fact(ids[n], fmt.Sprint("key-", n%40), "x"))
	}
	publish(t, newProducer(t, c), batch...)
	first := newHold(ids[0])
	failed := ids[45]
	f := &crowd{probe: newProbe(func(ctx context.Context, e event.Event, attempt int) error {
		if e.ID() == failed && attempt < 3 {
			return errBroken
		}
		return first.handle(ctx, e, attempt)
	})}
	o := batched(t, c, name, f, 64)
	r := start(t, o)
	f.awaitBegun(t, ids[0])
	close(first.letGo)

	f.awaitHandled(t, ids...)

	r.stop(t)
	assert.EqualValues(t, len(ids), committed(t, c, o))
	last := map[string]string{}
	for _, id := range f.handled {
		key, _, _ := strings.Cut(id, "/")
		assert.Less(t, last[key], id, "the order within a key")
		last[key] = id
	}
	assert.Len(t, f.handled, len(ids), "once each")
	assert.Equal(t, 3, f.attempts[failed], "it alone is tried again")
}

func TestSourceFormsBatchesAcrossPartitions(t *testing.T) {
	c := kafkatest.Start(t)
	name := topic(t, c, "order.created", 3)
	ids, batch := facts(100)
	publish(t, newProducer(t, c), batch[0])
	first := newHold(ids[0])
	f := &crowd{probe: newProbe(first.handle)}
	o := batched(t, c, name, f, 64)
	start(t, o)
	f.awaitBegun(t, ids[0])
	publish(t, newProducer(t, c), batch[1:]...)
	publish(t, newProducer(t, c), fact("last", ids[0], "x")) // behind the first one of its key
	close(first.letGo)

	f.awaitHandled(t, append(ids, "last")...)

	partitions := map[int32]bool{}
	for _, record := range c.Records(t, name, len(ids)+1) {
		partitions[record.Partition] = true
	}
	require.Len(t, partitions, 3)
	assert.Equal(t, ids[:1], f.calls[0], "what comes alone does not wait")
	for _, call := range f.calls {
		assert.LessOrEqual(t, len(call), 64)
	}
}

func TestSourceOfBatchesSetsAsideByTheAnswerToTheOne(t *testing.T) {
	c := kafkatest.Start(t)
	name := topic(t, c, "order.created", 1)
	ids, batch := facts(10)
	first := newHold(ids[0])
	f := &crowd{probe: newProbe(func(ctx context.Context, e event.Event, attempt int) error {
		switch e.ID() {
		case ids[3]:
			return delivery.Result(delivery.Poison(errBroken))
		case ids[6]:
			assert.Equal(t, attempt, tracing.Attempt(ctx), "the one in the batch counts")
			return errBroken
		default:
			return first.handle(ctx, e, attempt)
		}
	})}
	o := batched(t, c, name, f, 64)
	r := start(t, o)
	publish(t, newProducer(t, c), batch...)
	f.awaitBegun(t, ids[0])
	close(first.letGo)

	letters := c.Records(t, name+".dlq", 2)

	attempts := map[string]string{}
	for _, letter := range letters {
		attempts[string(letter.Key)] = header(letter, "ce_deadletterattempts")
	}
	assert.Equal(t, map[string]string{ids[3]: "1", ids[6]: "3"}, attempts)
	f.awaitHandled(t, slices.Concat(ids[:3], ids[4:6], ids[7:])...)
	r.stop(t)
	assert.EqualValues(t, len(ids), committed(t, c, o))
}

func TestSourceOfBatchesBeginsNothingAfterItsEnd(t *testing.T) {
	c := kafkatest.Start(t)
	name := topic(t, c, "order.created", 1)
	ids, batch := facts(10)
	first := newHold(ids[0])
	f := &crowd{probe: newProbe(first.handle)}
	o := batched(t, c, name, f, 3)
	publish(t, newProducer(t, c), batch...)
	r := start(t, o)
	f.awaitBegun(t, ids[0])
	r.cancel()
	close(first.letGo)
	r.awaitEnd(t)

	done := committed(t, c, o)
	assert.EqualValues(t, len(f.handled), done, "what was under way is finished")
	assert.Len(t, f.calls, 1, "and nothing else has begun")
	again := &crowd{probe: newProbe(nil)}
	start(t, batched(t, c, name, again, 64))
	again.awaitHandled(t, ids[done:]...)
}

func TestSourceOfBatchesRedeliversAttemptsInFlight(t *testing.T) {
	c := kafkatest.Start(t)
	name := topic(t, c, "order.created", 1)
	ids, batch := facts(60)
	publish(t, newProducer(t, c), batch...)
	stuck := newHold(ids[20])
	defer close(stuck.letGo)
	died := &crowd{probe: newProbe(stuck.handle)}
	o := batched(t, c, name, died, 64)
	o.Drain = 1 // nearly none: attempts in flight are abandoned
	r := start(t, o)
	died.awaitBegun(t, ids[20])
	r.stop(t)
	done := max(0, committed(t, c, o)) // -1 without a commit
	assert.LessOrEqual(t, done, int64(20), "nothing behind what is unfinished")
	f := &crowd{probe: newProbe(nil)}
	o = batched(t, c, name, f, 64)

	r = start(t, o)

	f.awaitHandled(t, ids[done:]...)
	r.stop(t)
	assert.Len(t, f.handled, len(ids)-int(done))
	assert.EqualValues(t, len(ids), committed(t, c, o))
	assert.Zero(t, size(t, c, name+".dlq"))
}
