package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"

	"example.com/orders/events"
	"example.com/orders/functions/internal/messaging/kafka"
)

// outcome is the end of an order.
type outcome uint8

const (
	pending outcome = iota
	confirmed
	failed
)

// watcher reads the topics with the ends of orders from their current end on, at nearly no cost for the stack, and records
// when each order's end was read.
type watcher struct {
	consumer   sarama.Consumer
	partitions int // of order.confirmed
	parts      []sarama.PartitionConsumer
	reading    sync.WaitGroup

	changed chan struct{} // holds a token while there is news for await
	ends    atomic.Int64  // of orders of this load
	good    atomic.Int64  // the confirmed ones

	mu      sync.Mutex
	begin   time.Time
	samples samples
	waiting map[string]int // accepted orders that have not ended, with their indices in the samples
	early   map[string]end // ends that were read before the answer to the POST; those of other clients' orders stay
	err     error          // of reading
}

// end is the contents of a record.
type end struct {
	outcome outcome
	at      time.Time
	emitted time.Time // the event's own time
}

// watch starts to read; after it returns, no later end is missed.
func watch(ctx context.Context, brokers []string, prefix string) (*watcher, error) {
	w := newWatcher()
	var err error
	if w.consumer, err = newConsumer(brokers); err != nil {
		return nil, err
	}
	for topic, outcome := range map[string]outcome{events.OrderConfirmedType: confirmed, events.OrderFailedType: failed} {
		if err := w.read(ctx, prefix+topic, outcome); err != nil {
			return nil, errors.Join(err, w.close())
		}
	}
	return w, nil
}

func newWatcher() *watcher {
	return &watcher{changed: make(chan struct{}, 1), waiting: map[string]int{}, early: map[string]end{}}
}

func newConsumer(brokers []string) (sarama.Consumer, error) {
	c := sarama.NewConfig()
	c.ClientID = "orders-bench"
	c.Version = sarama.V3_6_0_0
	c.Metadata.AllowAutoTopicCreation = false // a topic that is not there is another stack's
	c.Consumer.Return.Errors = true
	c.Consumer.Fetch.Min = 1
	c.Consumer.MaxWaitTime = 500 * time.Millisecond
	c.ChannelBufferSize = 1024
	kafka.Apply(c)
	consumer, err := sarama.NewConsumer(brokers, c)
	if err != nil {
		return nil, fmt.Errorf("connect to Kafka at %v: %w", brokers, err)
	}
	return consumer, nil
}

// settleWithin bounds the wait for a new topic: its brokers learn of their partitions one after the other.
const settleWithin = 10 * time.Second

// numbers returns the numbers of a topic's partitions.
func numbers(consumer sarama.Consumer, topic string) ([]int32, error) {
	partitions, err := consumer.Partitions(topic)
	if err != nil {
		return nil, fmt.Errorf("find the topic %s (is the stack up, and KAFKA_TOPIC_PREFIX the same?): %w", topic, err)
	}
	return partitions, nil
}

// partitionsOf reads all partitions of a topic from their current ends on.
func partitionsOf(ctx context.Context, consumer sarama.Consumer, topic string) ([]sarama.PartitionConsumer, error) {
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	partitions, err := numbers(consumer, topic)
	if err != nil {
		return nil, err
	}
	var parts []sarama.PartitionConsumer
	for _, partition := range partitions {
		part, err := consumer.ConsumePartition(topic, partition, sarama.OffsetNewest)
		for errors.Is(err, sarama.ErrNotLeaderForPartition) && ctx.Err() == nil {
			sleep(ctx, 50*time.Millisecond)
			part, err = consumer.ConsumePartition(topic, partition, sarama.OffsetNewest)
		}
		if err != nil {
			for _, p := range parts {
				p.AsyncClose()
			}
			return nil, fmt.Errorf("read %s/%d: %w", topic, partition, err)
		}
		parts = append(parts, part)
	}
	return parts, nil
}

func (w *watcher) read(ctx context.Context, topic string, outcome outcome) error {
	parts, err := partitionsOf(ctx, w.consumer, topic)
	if err != nil {
		return err
	}
	w.parts = append(w.parts, parts...)
	if outcome == confirmed {
		w.partitions = len(parts)
	}
	for _, part := range parts {
		w.reading.Go(func() {
			for record := range part.Messages() {
				w.record(string(record.Key), end{outcome: outcome, at: time.Now(), emitted: emittedAt(record)})
			}
		})
		w.reading.Go(func() {
			for err := range part.Errors() {
				w.fail(err)
			}
		})
	}
	return nil
}

// emittedAt returns the time attribute of the event in a record; zero without one.
func emittedAt(record *sarama.ConsumerMessage) time.Time {
	for _, header := range record.Headers {
		if string(header.Key) == "ce_time" {
			at, err := time.Parse(time.RFC3339Nano, string(header.Value))
			if err != nil {
				return time.Time{}
			}
			return at
		}
	}
	return time.Time{}
}

func (w *watcher) fail(err error) {
	w.mu.Lock()
	w.err = err
	w.mu.Unlock()
	w.wake()
}

// follow sets the samples of the load.
func (w *watcher) follow(begin time.Time, all samples) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begin, w.samples = begin, all
	clear(w.waiting)
	clear(w.early)
	w.ends.Store(0)
	w.good.Store(0)
}

// accepted records which order the n-th sample is.
func (w *watcher) accepted(id string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e, ok := w.early[id]; ok {
		delete(w.early, id)
		w.settle(n, e)
		return
	}
	w.waiting[id] = n
}

// record records an end that was read. A duplicate changes nothing.
func (w *watcher) record(id string, e end) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n, ok := w.waiting[id]; ok {
		delete(w.waiting, id)
		w.settle(n, e)
		return
	}
	if _, again := w.early[id]; !again {
		w.early[id] = e
	}
}

func (w *watcher) settle(n int, e end) {
	s := &w.samples[n]
	s.end, s.ended = e.outcome, e.at.Sub(w.begin)
	if !e.emitted.IsZero() {
		s.relayed = e.at.Sub(e.emitted)
	}
	w.ends.Add(1)
	if e.outcome == confirmed {
		w.good.Add(1)
	}
	w.wake()
}

func (w *watcher) wake() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// await returns once every accepted order has ended. It gives up, with an error that wraps ErrLost, if none has ended for as
// long as patience.
func (w *watcher) await(ctx context.Context, patience time.Duration) error {
	impatient := time.NewTimer(patience)
	defer impatient.Stop()
	for {
		w.mu.Lock()
		left, err := len(w.waiting), w.err
		w.mu.Unlock()
		if err != nil {
			return fmt.Errorf("read the ends of the orders: %w", err)
		}
		if left == 0 {
			return nil
		}
		select {
		case <-w.changed:
			impatient.Reset(patience)
		case <-impatient.C:
			w.mu.Lock()
			left = len(w.waiting)
			clear(w.waiting) // nothing writes to the samples any more
			w.mu.Unlock()
			return fmt.Errorf("%w: %d, and none for %s", ErrLost, left, patience)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (w *watcher) close() error {
	for _, part := range w.parts {
		part.AsyncClose()
	}
	w.reading.Wait()
	return w.consumer.Close()
}
