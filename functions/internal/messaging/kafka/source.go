package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/messaging/failpoint"
	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/observe/metrics"
	"example.com/orders/functions/internal/observe/tracing"
	"example.com/orders/knative"
)

// Source is a KafkaSource in this process, in place of Knative's: it delivers the records of a topic to a function as
// CloudEvents, at least once. It guarantees more than Knative's, and no function may rely on that: it keeps the order within
// a key, it commits a record only after its dead letter is acknowledged, and it waits while the function cannot work.
type Source struct {
	o      SourceOptions
	client sarama.Client // set by Run, before it joins
	joined atomic.Bool
}

// SourceOptions configures a Source.
type SourceOptions struct {
	Brokers []string
	// Login is that of the source's principal; nil stands for the process's own.
	Login *Login
	Spec  knative.KafkaSource
	// Deliver is the function's Handle; delivery.Status and delivery.Judge decide on its error.
	Deliver func(context.Context, event.Event) error
	// Submit is Deliver for a caller that does not wait: the function handles concurrent events as a batch, and calls done
	// with the error of each. All first attempts use it; an event that still waits when ctx ends is not handled. It is nil
	// if the function takes no batches: then each partition has as many attempts in flight as Spec has consumers.
	Submit func(ctx context.Context, done func(n int, err error), es ...event.Event)
	// Ready returns whether the function can work now. It is called only after a failure.
	Ready func(context.Context) bool
	// DeadLetters writes the dead letters.
	DeadLetters *Producer
	// Lost records that records were removed before they were handled; the source continues only after that. It may be nil
	// if the log and the metrics are enough.
	Lost func(context.Context, Loss) error
	// Metrics counts dead letters and lost records; it may be nil.
	Metrics *metrics.Metrics
	Log     *slog.Logger
	// Drain is how long attempts in flight may go on after Run's ctx has ended.
	Drain time.Duration
}

// NewSource returns a source that does nothing until Run.
func NewSource(o SourceOptions) *Source {
	o.Log = o.Log.With("consumer", o.Spec.Sink, "topic", o.Spec.Topic)
	o.Metrics.AddConsumer(o.Spec.Topic, o.Spec.Sink)
	return &Source{o: o}
}

// Joined returns whether the source is a member of its consumer group now, and works on all its partitions.
func (s *Source) Joined() bool { return s.joined.Load() }

// Run consumes until ctx ends. While the brokers are down it reconnects with backoff, and logs only the first failure and
// the recovery.
func (s *Source) Run(ctx context.Context) {
	retry := &reconnect{brokers: s.o.Brokers, log: s.o.Log, backoff: shortestWait}
	group := s.connect(ctx, retry)
	if group == nil {
		return
	}
	defer func() { _ = errors.Join(group.Close(), s.client.Close()) }() // leaving the group is best effort: its session times out
	go func() {
		for err := range group.Errors() {
			s.o.Log.Debug("consumer group", "error", err)
		}
	}()
	for ctx.Err() == nil {
		// Consume returns at every rebalance. Keep the client through failures: a new one would be another member, and the
		// group would wait for the old one until its session times out.
		m := &member{source: s, joined: retry.reset}
		if err := errors.Join(group.Consume(ctx, []string{s.o.Spec.Topic}, m), m.err); err != nil {
			retry.wait(ctx, err)
		}
	}
}

// connect returns the client of the consumer group, or nil if ctx ended first.
func (s *Source) connect(ctx context.Context, retry *reconnect) sarama.ConsumerGroup {
	for ctx.Err() == nil {
		client, err := newMemberClient(s.o.Brokers, s.o.Login.apply(consumerConfig(s.o.Spec.Name, s.o.Drain)))
		if err == nil {
			var group sarama.ConsumerGroup
			if group, err = sarama.NewConsumerGroupFromClient(s.o.Spec.Group, client); err == nil {
				s.client = client
				return group
			}
			err = errors.Join(err, client.Close())
		}
		retry.wait(ctx, err)
	}
	return nil
}

const shortestWait, longestWait = 100 * time.Millisecond, 5 * time.Second

// reconnect is the state of the source's attempts to rejoin its group.
type reconnect struct {
	brokers []string
	log     *slog.Logger
	down    bool
	backoff time.Duration // before the next attempt
}

// wait logs the first failure and waits before the next attempt.
func (r *reconnect) wait(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	if !errors.Is(err, errRemoved) { // reported when the source continues
		if !r.down {
			r.log.Warn("source lost its brokers, reconnecting", "error", errors.Join(err, Diagnose(ctx, r.brokers)))
		}
		r.down = true
	}
	timer := time.NewTimer(r.backoff)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
	r.backoff = min(2*r.backoff, longestWait)
}

// reset is called once the source works again.
func (r *reconnect) reset() {
	if r.down {
		r.log.Info("source reconnected")
	}
	r.down, r.backoff = false, shortestWait
}

// member is the source in one session of its group.
type member struct {
	source *Source
	joined func()
	idle   atomic.Int64    // partitions on which the work has not begun
	work   context.Context //nolint:containedctx // the ctx of all attempts of the session
	stop   context.CancelFunc

	mu  sync.Mutex
	err error // why the session ended, if the group must not be rejoined at once
}

func (m *member) Setup(session sarama.ConsumerGroupSession) error {
	m.work, m.stop = context.WithCancel(failpoint.In(context.WithoutCancel(session.Context()), m.source.o.Spec.Sink))
	partitions := session.Claims()[m.source.o.Spec.Topic]
	m.idle.Store(int64(len(partitions)))
	if len(partitions) == 0 {
		m.atWork()
	}
	return nil
}

func (m *member) atWork() {
	m.joined()
	m.source.joined.Store(true)
}

// Cleanup remembers if the session ended because the work on a partition could not begin or continue: rejoining at once
// would make the whole group rebalance endlessly.
func (m *member) Cleanup(session sarama.ConsumerGroupSession) error {
	m.stop()
	m.source.joined.Store(false)
	if cause := context.Cause(session.Context()); errors.Is(cause, sarama.ErrSessionConsumeClaimExited) {
		m.note(cause)
	}
	return nil
}

func (m *member) note(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = errors.Join(m.err, err)
}

// ConsumeClaim works on one partition until the session ends. The ctx of attempts outlives the session by Drain, so that
// attempts in flight can finish; records that have not begun are left for the next owner.
func (m *member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	if err := m.resume(session, claim); err != nil {
		m.note(err)
		return err
	}
	if m.idle.Add(-1) == 0 {
		m.atWork()
	}
	p := newPartition(m, session)
	done := session.Context().Done()
	said := false
	for {
		if full, held := p.full(); full {
			if held && !said {
				said = true
				m.source.o.Log.Error("partition paused: too many records are in retry, or wait behind one that is", "partition", claim.Partition())
			}
			select {
			case <-p.room:
				continue
			case <-done:
			}
		} else {
			select {
			case record, ok := <-claim.Messages():
				if ok {
					p.add(record)
					continue
				}
				if session.Context().Err() == nil { // sarama itself ends a claim only for this
					m.note(errRemoved)
					p.finishAll(done)
				}
			case <-done:
			}
		}
		break
	}
	grace := time.AfterFunc(m.source.o.Drain, m.stop)
	defer grace.Stop()
	p.drain()
	return nil
}

// submit makes the first attempt of a task.
func (s *Source) submit(t task) {
	ctx, e, end := tracing.Consume(tracing.WithAttempt(t.partition.claim, 1), s.o.Spec.Sink, s.event(t.record.ConsumerMessage))
	s.o.Submit(ctx, func(_ int, err error) {
		end(err)
		if delivery.Judge(delivery.Status(err)) == delivery.Acknowledge {
			t.partition.finish(t)
			return
		}
		go t.partition.run(t, err)
	}, e)
}

// attempt delivers an event for the n-th time; a panic of the function is a failed attempt.
func (s *Source) attempt(ctx context.Context, e event.Event, n int) (err error) {
	ctx, cancel := context.WithTimeout(tracing.WithAttempt(ctx, n), s.o.Spec.Delivery.Timeout)
	defer cancel()
	ctx, e, end := tracing.Consume(ctx, s.o.Spec.Sink, e)
	defer func() { end(err) }()
	defer func() {
		if p := recover(); p != nil {
			s.o.Log.ErrorContext(ctx, "function panicked", "panic", p, "event_id", e.ID(), "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return s.o.Deliver(ctx, e)
}

// event returns the event of a record, as the function gets it.
func (s *Source) event(record *sarama.ConsumerMessage) event.Event {
	e := Decode(record, s.o.Spec.Namespace, s.o.Spec.Name)
	for name, value := range s.o.Spec.Extensions {
		e.SetExtension(name, value)
	}
	return e
}

// process delivers a record until it is handled or a dead letter, and then returns true; it returns false if work ended
// first. failed is the error of the first attempt, nil if there was none. Attempts are counted within one claim: the next
// owner of the partition, in this process or another, starts again from zero, like Knative's KafkaSource. That delays a dead
// letter, and holds up only the record's key.
func (s *Source) process(work context.Context, a *alone, failed error) bool {
	record := a.record.ConsumerMessage
	e := s.event(record)
	work = tracing.Of(work, e)
	log := s.o.Log.With("partition", record.Partition, "offset", record.Offset,
		"event_id", e.ID(), "order_id", e.Subject(), "correlation_id", events.CauseOf(e).CorrelationID)
	for attempts := 1; ; {
		err := failed
		if failed == nil {
			err = s.attempt(work, e, attempts)
		}
		failed = nil
		status := delivery.Status(err)
		verdict := delivery.Judge(status)
		if verdict == delivery.Acknowledge {
			return true
		}
		if work.Err() != nil {
			return false // the failure may be the shutdown's own: the next owner delivers again
		}
		if verdict == delivery.Retry && !s.o.Ready(work) {
			// The function cannot work now. That is not the event's fault, so no attempt is counted, not even the last one.
			if !s.await(work, log, a.sleep) {
				return false
			}
			continue
		}
		if verdict == delivery.Retry && attempts <= s.o.Spec.Delivery.Retry {
			wait := s.o.Spec.Delivery.Backoff(attempts)
			log.WarnContext(work, "delivery failed, will be retried", "attempt", attempts, "status", status, "wait", wait, "error", err)
			a.hold()
			if !a.sleep(wait) {
				return false
			}
			attempts++
			s.o.Metrics.CountRetry(record.Topic, s.o.Spec.Sink)
			continue
		}
		return s.setAside(work, log, a, failure{consumer: s.o.Spec.Sink, attempts: attempts, status: status, err: err, at: time.Now()})
	}
}

// await waits until the function can work again.
func (s *Source) await(work context.Context, log *slog.Logger, sleep func(time.Duration) bool) bool {
	log.DebugContext(work, "function is not ready, waiting for it")
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		if !sleep(wait) {
			return false
		}
		if s.o.Ready(work) {
			return true
		}
	}
}

// setAside writes the dead letter, and retries until a broker has acknowledged it: only then is the record done. It logs
// only the first failure and the success. If the dead letter is too large, it keeps less and less of the record, and says
// so.
func (s *Source) setAside(work context.Context, log *slog.Logger, a *alone, f failure) bool {
	record, topic := a.record.ConsumerMessage, s.o.Spec.Delivery.DeadLetter
	log = log.With("attempts", f.attempts, "status", f.status, "dead_letter", topic)
	level := slog.LevelWarn
	size := sizeOf(record)
	left := size // the bytes of the record in the dead letter
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		letter := deadLetter(topic, record, f)
		if left < size {
			letter = cutLetter(topic, record, f, left)
		}
		ctx, cancel := context.WithTimeout(work, 10*time.Second)
		err := s.o.DeadLetters.Write(ctx, []*sarama.ProducerMessage{letter})[0]
		cancel()
		if err == nil {
			failpoint.Pass(work, failpoint.DeadLetterWritten)
			s.o.Metrics.CountDeadLetter(record.Topic, f.consumer, f.reason())
			if left < size {
				s.o.Metrics.CountCutLetter(record.Topic, f.consumer)
				log = log.With("record_bytes", size, "left_bytes", left)
			}
			log.ErrorContext(work, "record set aside as a dead letter", "error", f.err)
			return true
		}
		if errors.Is(err, outbox.ErrTooLarge) && left > 0 {
			if left == size {
				log.WarnContext(work, "dead letter too large for its topic, cutting it: raise the topic's max.message.bytes", "record_bytes", size, "error", err)
			}
			left /= 2
			continue
		}
		log.Log(work, level, "dead letter not written, retrying", "error", err)
		level = slog.LevelDebug
		a.hold()
		if !a.sleep(wait) {
			return false
		}
	}
}
