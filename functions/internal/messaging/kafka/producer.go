package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/functions/internal/messaging/outbox"
)

// Producer produces records with acks=all. Many goroutines may use it. It connects at the first record, and reconnects after
// every failure that is not about a record itself: sarama's idempotent producer does not recover reliably.
type Producer struct {
	brokers     []string
	topicPrefix string
	login       *Login // nil for that of the process
	log         *slog.Logger

	mu      sync.Mutex
	current *connection
	dialing *dial // nil unless a connection is being made
	closed  bool
}

// dial is one attempt to connect, shared by all callers that wait for it.
type dial struct {
	done chan struct{}
	err  error // read only after done is closed
}

// connection is a sarama producer and the number of its users: the last one closes it.
type connection struct {
	sarama.SyncProducer
	users   int
	retired bool
}

// NewProducer returns a producer to the brokers, each host:port. It does not connect yet. topicPrefix precedes the names of
// the topics to which Publish sends.
func NewProducer(brokers []string, topicPrefix string, log *slog.Logger) *Producer {
	return &Producer{brokers: brokers, topicPrefix: topicPrefix, log: log}
}

// As makes the producer log in as a principal, before it connects; nil stands for the process's own login.
func (p *Producer) As(login *Login) *Producer {
	p.login = login
	return p
}

var errClosed = errors.New("the producer is closed")

// Publish sends events to the topics of their types, with the prefix: see outbox.Publisher.
func (p *Producer) Publish(ctx context.Context, batch []event.Event) []outbox.Outcome {
	outcomes := make([]outbox.Outcome, len(batch))
	var messages []*sarama.ProducerMessage
	var places []int
	for i, e := range batch {
		m, err := Encode(ctx, e)
		if err != nil {
			outcomes[i].Err = fmt.Errorf("%w: %w", outbox.ErrRefused, err)
			continue
		}
		m.Topic = p.topicPrefix + m.Topic
		messages = append(messages, m)
		places = append(places, i)
	}
	errs := p.Write(ctx, messages)
	for i, err := range errs {
		if refused(err) && len(messages) > 1 {
			// The broker refuses a whole batch because of one record, or of their sum: find out which one it is.
			err = p.Write(ctx, messages[i:i+1])[0]
		}
		outcomes[places[i]].Err = err
		if err == nil { // after an error sarama may still write to the message
			outcomes[places[i]].Partition, outcomes[places[i]].Offset = messages[i].Partition, messages[i].Offset
		}
	}
	return outcomes
}

// Write sends records and waits for their acknowledgements, within ctx; the errors are those of outbox.Outcome.
func (p *Producer) Write(ctx context.Context, messages []*sarama.ProducerMessage) []error {
	errs := make([]error, len(messages))
	if len(messages) == 0 {
		return errs
	}
	c, err := p.acquire(ctx)
	if err != nil {
		return fill(errs, err)
	}
	done := make(chan error, 1)
	go func() {
		done <- c.SendMessages(messages)
		p.release(c)
	}()
	select {
	case err = <-done:
	case <-ctx.Done():
		// sarama does not support ctx. Records in flight may still be written: their fate is unknown. The caller must no
		// longer read the messages, since sarama may write to them; after an error it does not.
		p.retire(c)
		return fill(errs, fmt.Errorf("wait for the broker: %w", ctx.Err()))
	}
	var failed sarama.ProducerErrors
	switch {
	case err == nil:
		return errs
	case errors.As(err, &failed):
		return p.sort(c, messages, failed, errs)
	default:
		p.retire(c)
		return fill(errs, err)
	}
}

// sort assigns the errors of a batch to their records.
func (p *Producer) sort(c *connection, messages []*sarama.ProducerMessage, failed sarama.ProducerErrors, errs []error) []error {
	place := make(map[*sarama.ProducerMessage]int, len(messages))
	for i, m := range messages {
		place[m] = i
	}
	for _, f := range failed {
		err := classify(f.Err)
		if !refused(err) {
			p.retire(c)
		}
		if i, ok := place[f.Msg]; ok {
			errs[i] = err
		}
	}
	return errs
}

// classify distinguishes a refusal of the record itself from all other errors, after which the record may be sent again.
func classify(err error) error {
	switch {
	case errors.Is(err, sarama.ErrMessageSizeTooLarge), errors.Is(err, sarama.ErrMessageSetSizeTooLarge):
		return fmt.Errorf("%w: %w", outbox.ErrTooLarge, err)
	case errors.Is(err, sarama.ErrInvalidMessage), errors.Is(err, sarama.ErrInvalidRecord),
		errors.Is(err, sarama.ErrInvalidTimestamp), errors.Is(err, sarama.ErrInvalidMessageSize),
		errors.Is(err, sarama.ErrPolicyViolation):
		return fmt.Errorf("%w: %w", outbox.ErrRefused, err)
	default:
		return err
	}
}

// refused returns whether classify found that the broker does not take the record.
func refused(err error) bool {
	return errors.Is(err, outbox.ErrRefused) || errors.Is(err, outbox.ErrTooLarge)
}

func fill(errs []error, err error) []error {
	for i := range errs {
		errs[i] = err
	}
	return errs
}

// acquire returns the connection, which the caller gives back with release; it makes one if there is none. sarama does not
// support ctx and may wait long for a broker that does not answer: callers wait no longer than their ctx, and Close does not
// wait at all.
func (p *Producer) acquire(ctx context.Context) (*connection, error) {
	for {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("send to Kafka at %v: %w", p.brokers, ctx.Err())
		}
		c, d, err := p.connection()
		if c != nil || err != nil {
			return c, err
		}
		select {
		case <-d.done:
			if d.err != nil {
				return nil, d.err
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("connect to Kafka at %v: %w", p.brokers, ctx.Err())
		}
	}
}

// connection returns the current connection, or the attempt to make one.
func (p *Producer) connection() (*connection, *dial, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, errClosed
	}
	if p.current != nil {
		p.current.users++
		return p.current, nil, nil
	}
	if p.dialing == nil {
		p.dialing = &dial{done: make(chan struct{})}
		go p.connect(p.dialing)
	}
	return nil, p.dialing, nil
}

func (p *Producer) connect(d *dial) {
	producer, err := sarama.NewSyncProducer(p.brokers, p.login.apply(producerConfig()))
	if err != nil {
		d.err = fmt.Errorf("connect to Kafka at %v: %w", p.brokers, err)
	}
	p.mu.Lock()
	p.dialing = nil
	closed := p.closed
	if err == nil && !closed {
		p.current = &connection{SyncProducer: producer}
	}
	p.mu.Unlock()
	close(d.done)
	if err == nil && closed {
		p.shut(producer)
	}
}

// release gives a connection back, and closes it if it is retired and unused.
func (p *Producer) release(c *connection) {
	p.mu.Lock()
	c.users--
	last := c.retired && c.users == 0
	p.mu.Unlock()
	if last {
		p.shut(c.SyncProducer)
	}
}

// retire ensures that a connection gets no new users.
func (p *Producer) retire(c *connection) {
	p.mu.Lock()
	if p.current == c {
		p.current = nil
	}
	last := !c.retired && c.users == 0
	c.retired = true
	p.mu.Unlock()
	if last {
		p.shut(c.SyncProducer)
	}
}

func (p *Producer) shut(producer sarama.SyncProducer) {
	if err := producer.Close(); err != nil {
		p.log.Debug("producer closed with an error", "error", err)
	}
}

// Close lets records in flight finish, and refuses all later ones. It may be called twice.
func (p *Producer) Close() error {
	p.mu.Lock()
	p.closed = true
	c := p.current
	p.mu.Unlock()
	if c != nil {
		p.retire(c)
	}
	return nil
}
