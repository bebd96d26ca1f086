package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/functions/internal/delivery"
	"example.com/orders/knative"
)

// Source is a KafkaSource of Knative acted out in this process: it delivers the records of a topic to a function as
// CloudEvents, at least once. It is stronger than Knative's where DESIGN allows it: the order within a key is kept,
// a dead letter is acknowledged before the record is committed, and it waits while the function cannot work.
type Source struct {
	o      SourceOptions
	joined atomic.Bool
}

// SourceOptions is what a source works with.
type SourceOptions struct {
	Brokers []string
	Spec    knative.KafkaSource
	// Deliver is the function's Handle; delivery.Status and delivery.Judge decide on its error.
	Deliver func(context.Context, event.Event) error
	// Ready tells whether the function can work now. It is asked after a failure only.
	Ready func(context.Context) bool
	// DeadLetters writes the records that are set aside.
	DeadLetters *Producer
	Log         *slog.Logger
	// Drain is how long attempts that are under way may go on after Run's ctx has ended.
	Drain time.Duration
}

// NewSource returns a source that does nothing until Run.
func NewSource(o SourceOptions) *Source {
	o.Log = o.Log.With("consumer", o.Spec.Sink, "topic", o.Spec.Topic)
	return &Source{o: o}
}

// Joined tells whether the source is a member of its consumer group at this moment.
func (s *Source) Joined() bool { return s.joined.Load() }

// Run consumes until ctx ends. It joins again, with growing waits, when the brokers are away, and logs the first
// failure and the recovery only.
func (s *Source) Run(ctx context.Context) {
	away := false
	for wait := 100 * time.Millisecond; ctx.Err() == nil; {
		err := s.consume(ctx, func() {
			wait = 100 * time.Millisecond
			if away {
				s.o.Log.Info("source is back")
			}
			away = false
		})
		if ctx.Err() != nil {
			return
		}
		if err != nil && !away {
			away = true
			s.o.Log.Warn("source lost its brokers, trying again", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, 5*time.Second)
	}
}

// consume is one life of the consumer group's client. joined is called when it has become a member.
func (s *Source) consume(ctx context.Context, joined func()) error {
	group, err := sarama.NewConsumerGroup(s.o.Brokers, s.o.Spec.Group, consumerConfig(s.o.Spec.Name, s.o.Drain))
	if err != nil {
		return fmt.Errorf("join group %s: %w", s.o.Spec.Group, err)
	}
	defer func() { _ = group.Close() }() // leaving the group is best effort: its session times out
	go func() {
		for err := range group.Errors() {
			s.o.Log.Debug("consumer group", "error", err)
		}
	}()
	for ctx.Err() == nil {
		// Consume returns at every rebalance; after an error the client is made anew.
		if err := group.Consume(ctx, []string{s.o.Spec.Topic}, &member{source: s, joined: joined}); err != nil {
			return err
		}
	}
	return nil
}

// member is the source in one session of its group.
type member struct {
	source *Source
	joined func()
}

func (m *member) Setup(sarama.ConsumerGroupSession) error {
	m.joined()
	m.source.joined.Store(true)
	return nil
}

func (m *member) Cleanup(sarama.ConsumerGroupSession) error {
	m.source.joined.Store(false)
	return nil
}

// ConsumeClaim works on one partition until the session ends. Attempts get a ctx that outlives the session by Drain, so
// that those under way end well; what had not begun is left for the next owner.
func (m *member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	work, stop := context.WithCancel(context.WithoutCancel(session.Context()))
	defer stop()
	p := newPartition(m.source, session, work)
	done := session.Context().Done()
	for {
		if p.full() {
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
			case <-done:
			}
		}
		break
	}
	grace := time.AfterFunc(m.source.o.Drain, stop)
	defer grace.Stop()
	p.drain()
	return nil
}

// attempt delivers an event once; a panic of the function is a failed attempt.
func (s *Source) attempt(ctx context.Context, e event.Event) (err error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.Spec.Delivery.Timeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			s.o.Log.Error("function panicked", "panic", p, "event_id", e.ID(), "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return s.o.Deliver(ctx, e)
}

// process delivers a record until it is handled or set aside, and returns true then; false when work ended before.
// sleep waits without occupying a place among the consumers.
func (s *Source) process(work context.Context, record *sarama.ConsumerMessage, sleep func(time.Duration) bool) bool {
	e := Decode(record, s.o.Spec.Namespace, s.o.Spec.Name)
	for name, value := range s.o.Spec.Extensions {
		e.SetExtension(name, value)
	}
	log := s.o.Log.With("partition", record.Partition, "offset", record.Offset, "event_id", e.ID())
	for attempts := 1; ; {
		err := s.attempt(work, e)
		status := delivery.Status(err)
		verdict := delivery.Judge(status)
		if verdict == delivery.Acknowledge {
			return true
		}
		if work.Err() != nil {
			return false // the failure may be the shutdown's own: the next owner delivers again
		}
		if verdict == delivery.Retry && !s.o.Ready(work) {
			// The function cannot work now: not this event's fault, so not an attempt against it, the last one included.
			if !s.await(work, log, sleep) {
				return false
			}
			continue
		}
		if verdict == delivery.Retry && attempts <= s.o.Spec.Delivery.Retry {
			wait := s.o.Spec.Delivery.Backoff(attempts)
			log.Warn("delivery failed, to be tried again", "attempt", attempts, "status", status, "wait", wait, "error", err)
			if !sleep(wait) {
				return false
			}
			attempts++
			continue
		}
		return s.setAside(work, log, record, failure{consumer: s.o.Spec.Sink, attempts: attempts, status: status, err: err, at: time.Now()}, sleep)
	}
}

// await waits until the function can work again.
func (s *Source) await(work context.Context, log *slog.Logger, sleep func(time.Duration) bool) bool {
	log.Debug("function cannot work, waiting for it")
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		if !sleep(wait) {
			return false
		}
		if s.o.Ready(work) {
			return true
		}
	}
}

// setAside writes the dead letter, again and again until a broker has acknowledged it: only then is the record done. It
// logs the first failure and the success only.
func (s *Source) setAside(work context.Context, log *slog.Logger, record *sarama.ConsumerMessage, f failure, sleep func(time.Duration) bool) bool {
	log = log.With("attempts", f.attempts, "status", f.status, "dead_letter", s.o.Spec.Delivery.DeadLetter)
	level := slog.LevelWarn
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		ctx, cancel := context.WithTimeout(work, 10*time.Second)
		err := s.o.DeadLetters.Write(ctx, []*sarama.ProducerMessage{deadLetter(s.o.Spec.Delivery.DeadLetter, record, f)})[0]
		cancel()
		if err == nil {
			log.Error("record set aside as a dead letter", "error", f.err)
			return true
		}
		log.Log(work, level, "dead letter not written, trying again", "error", err)
		level = slog.LevelDebug
		if !sleep(wait) {
			return false
		}
	}
}
