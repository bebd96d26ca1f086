package kafka_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/knative"
)

// probe is a function that records its deliveries.
type probe struct {
	handle func(ctx context.Context, e event.Event, attempt int) error // nil handles every event

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced at each change
	begun    []string      // ids in the order of delivery
	at       []time.Time   // when those were
	handled  []string      // ids in the order of handling
	attempts map[string]int
	events   []event.Event
	running  int
	most     int // how many ran at once
}

func newProbe(handle func(ctx context.Context, e event.Event, attempt int) error) *probe {
	return &probe{handle: handle, changed: make(chan struct{}), attempts: map[string]int{}}
}

func (p *probe) deliver(ctx context.Context, e event.Event) (err error) {
	p.mu.Lock()
	p.begun = append(p.begun, e.ID())
	p.at = append(p.at, time.Now())
	p.events = append(p.events, e.Clone())
	p.attempts[e.ID()]++
	attempt := p.attempts[e.ID()]
	p.running++
	p.most = max(p.most, p.running)
	p.change()
	p.mu.Unlock()
	panicked := true
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.running--
		if err == nil && !panicked {
			p.handled = append(p.handled, e.ID())
		}
		p.change()
	}()
	if p.handle != nil {
		err = p.handle(ctx, e, attempt)
	}
	panicked = false
	return err
}

// change is called with the mutex held.
func (p *probe) change() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// await waits until fact is true; it is called with the mutex held.
func (p *probe) await(t *testing.T, what string, fact func() bool) {
	t.Helper()
	timeout := time.After(patience)
	for {
		p.mu.Lock()
		ok, changed := fact(), p.changed
		p.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			p.mu.Lock()
			defer p.mu.Unlock()
			require.Failf(t, "did not happen", "%s; begun %d, handled %d: %.300v", what, len(p.begun), len(p.handled), p.handled)
		}
	}
}

func (p *probe) awaitHandled(t *testing.T, ids ...string) {
	t.Helper()
	p.await(t, "all are handled", func() bool {
		return !slices.ContainsFunc(ids, func(id string) bool { return !slices.Contains(p.handled, id) })
	})
}

func (p *probe) awaitBegun(t *testing.T, ids ...string) {
	t.Helper()
	p.await(t, "all have begun", func() bool {
		return !slices.ContainsFunc(ids, func(id string) bool { return !slices.Contains(p.begun, id) })
	})
}

// deliveries returns the ids delivered so far, in order.
func (p *probe) deliveries() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.begun)
}

// options returns the options of a source that delivers a topic to a probe, with two immediate retries and a long drain.
func options(t *testing.T, c kafkatest.Cluster, topic string, p *probe) kafka.SourceOptions {
	t.Helper()
	return kafka.SourceOptions{
		Brokers: c.Brokers,
		Spec: knative.KafkaSource{
			Name: "reserve-stock-order-created", Namespace: "shop", Group: c.Prefix + "reserve-stock." + topic, Topic: topic,
			Consumers: 4, Sink: "reserve-stock",
			Delivery: knative.Delivery{Retry: 2, Exponential: true, Delay: time.Millisecond, Timeout: patience, DeadLetter: topic + ".dlq"},
		},
		Deliver:     p.deliver,
		Ready:       func(context.Context) bool { return true },
		DeadLetters: newProducer(t, c),
		Log:         silent,
		Drain:       10 * time.Second,
	}
}

// run is a running source.
type run struct {
	source *kafka.Source
	cancel context.CancelFunc
	ended  chan struct{}
}

func start(t *testing.T, o kafka.SourceOptions) *run {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	r := &run{source: kafka.NewSource(o), cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		r.source.Run(ctx)
	}()
	t.Cleanup(func() { r.stop(t) })
	return r
}

func (r *run) stop(t *testing.T) {
	t.Helper()
	r.cancel()
	r.awaitEnd(t)
}

func (r *run) awaitEnd(t *testing.T) {
	t.Helper()
	select {
	case <-r.ended:
	case <-time.After(patience):
		require.Fail(t, "the source does not end")
	}
}

// awaitJoined waits until the source works on all its partitions; the last one may start later than the others.
func (r *run) awaitJoined(t *testing.T) {
	t.Helper()
	require.Eventually(t, r.source.Joined, patience, 5*time.Millisecond)
}

// committed returns the committed offset of a group in partition 0 of a topic, -1 without one.
func committed(t *testing.T, c kafkatest.Cluster, o kafka.SourceOptions) int64 {
	t.Helper()
	answer, err := admin(t, c).ListConsumerGroupOffsets(o.Spec.Group, map[string][]int32{o.Spec.Topic: {0}})
	require.NoError(t, err)
	block := answer.GetBlock(o.Spec.Topic, 0)
	require.NotNil(t, block)
	require.ErrorIs(t, block.Err, sarama.ErrNoError)
	return block.Offset
}

// size returns the number of records in a topic of one partition.
func size(t *testing.T, c kafkatest.Cluster, topic string) int64 {
	t.Helper()
	config := sarama.NewConfig()
	config.Version = sarama.V3_6_0_0
	client, err := sarama.NewClient(c.Brokers, config)
	require.NoError(t, err)
	defer func() { require.NoError(t, client.Close()) }()
	newest, err := client.GetOffset(topic, 0, sarama.OffsetNewest)
	require.NoError(t, err)
	return newest
}

// hold is a handler that blocks on the events of an id until it is released or its ctx ends.
type hold struct {
	id    string
	letGo chan struct{}
}

func newHold(id string) *hold { return &hold{id: id, letGo: make(chan struct{})} }

func (h *hold) handle(ctx context.Context, e event.Event, _ int) error {
	if e.ID() != h.id {
		return nil
	}
	select {
	case <-h.letGo:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
