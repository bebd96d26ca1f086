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

	"example.com/orders/functions/internal/host"
	"example.com/orders/functions/internal/kafka"
	"example.com/orders/functions/internal/kafkatest"
)

// crowd is a probe that takes events in groups, and notes how large they were.
type crowd struct {
	*probe
	sizes sizes
}

type sizes struct {
	sync.Mutex
	all []int
}

func (c *crowd) Handle(ctx context.Context, e event.Event) error { return c.deliver(ctx, e) }

func (c *crowd) HandleBatch(ctx context.Context, es []event.Event) []error {
	c.sizes.Lock()
	c.sizes.all = append(c.sizes.all, len(es))
	c.sizes.Unlock()
	answers := make([]error, len(es))
	for i, e := range es {
		answers[i] = c.deliver(ctx, e)
	}
	return answers
}

// grouped are the options of a source that hands its records over in groups.
func grouped(t *testing.T, c kafkatest.Cluster, topic string, f *crowd) kafka.SourceOptions {
	t.Helper()
	o := options(t, c, topic, f.probe)
	o.Spec.Consumers = 1
	o.Deliver, o.Group = host.DeliverGrouped(f, patience), host.GroupSize
	return o
}

func TestSourceOfGroupsKeepsTheOrderOfAKeyAndCommitsAll(t *testing.T) {
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
	o := grouped(t, c, name, f)
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
	f.sizes.Lock()
	defer f.sizes.Unlock()
	assert.Greater(t, slices.Max(f.sizes.all), 1)
	assert.LessOrEqual(t, slices.Max(f.sizes.all), host.GroupSize)
}

func TestSourceOfGroupsDeliversAgainWhatWasUnderWay(t *testing.T) {
	c := kafkatest.Start(t)
	name := topic(t, c, "order.created", 1)
	var ids []string
	var batch []event.Event
	for n := range 60 {
		ids = append(ids, fmt.Sprintf("%03d", n))
		batch = append(batch, fact(ids[n], ids[n], "x"))
	}
	publish(t, newProducer(t, c), batch...)
	stuck := newHold(ids[20])
	defer close(stuck.letGo)
	died := &crowd{probe: newProbe(stuck.handle)}
	o := grouped(t, c, name, died)
	o.Drain = 1 // as good as none: what is under way is given up
	r := start(t, o)
	died.awaitBegun(t, ids[20])
	r.stop(t)
	done := max(0, committed(t, c, o)) // -1 when nothing was committed
	assert.LessOrEqual(t, done, int64(20), "nothing behind what is unfinished")
	f := &crowd{probe: newProbe(nil)}
	o = grouped(t, c, name, f)

	r = start(t, o)

	f.awaitHandled(t, ids[done:]...)
	r.stop(t)
	assert.Len(t, f.handled, len(ids)-int(done))
	assert.EqualValues(t, len(ids), committed(t, c, o))
	assert.Zero(t, size(t, c, name+".dlq"))
}
