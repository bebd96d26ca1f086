package console

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/IBM/sarama"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/observe/metrics"
	"example.com/orders/functions/internal/operate/backlog"
	"example.com/orders/functions/internal/operate/gauge"
)

// flow has the numbers on the arrows.
type flow struct {
	// Topics has the records of each topic: in total, and per second.
	Topics  map[string]traffic `json:"topics"`
	Sources map[string]arrow   `json:"sources"` // by consumer group
}

type traffic struct {
	Total int64   `json:"total"`
	Rate  float64 `json:"rate"`
}

type arrow struct {
	Rate float64 `json:"rate"`
	Lag  int64   `json:"lag"`
	// Open is the number of the consumer's dead letters that wait for an operator, as old as the number in the navigation.
	Open int `json:"open"`
	// Reasons counts those that were set aside since the process began, by reason.
	Reasons map[string]int `json:"reasons,omitempty"`
	// Lost is the number of records that were removed before the consumer had handled them, since the process began.
	Lost int `json:"lost"`
}

type waiting struct {
	// Waiting is at most maxCounted.
	Waiting       int64 `json:"waiting"`
	Parked        int64 `json:"parked"`
	OldestSeconds int64 `json:"oldestSeconds"`
	// LagSeconds is the age of the oldest row that its relay or connector has yet to publish: parked ones do not count.
	LagSeconds int64 `json:"lagSeconds"`
}

// maxCounted bounds the counted rows of an outbox: beyond it a backlog is just large.
const maxCounted = 10_000

// rateWindow is the time over which a rate is averaged.
const rateWindow = 5 * time.Second

// sample is the offsets of topics and groups at a time.
type sample struct {
	at      time.Time
	topics  map[string]int64
	handled map[string]int64
}

// newFlow returns a func that reads the numbers; it remembers earlier samples for the rates.
func (c *Console) newFlow() func(context.Context) (any, error) {
	var samples []sample
	return func(ctx context.Context) (any, error) {
		now, lags, err := c.takeSample(ctx)
		if err != nil {
			return nil, err
		}
		for len(samples) > 1 && now.at.Sub(samples[1].at) >= rateWindow {
			samples = samples[1:]
		}
		samples = append(samples, now)
		before := samples[0]
		f := flow{Topics: map[string]traffic{}, Sources: map[string]arrow{}}
		for topic, total := range now.topics {
			f.Topics[topic] = traffic{total, rate(before.at, now.at, before.topics[topic], total)}
		}
		open, dead, lost := c.countOpen(), c.o.Metrics.DeadLetters(), c.o.Metrics.Lost()
		for _, h := range c.topology.Handles {
			consumer := metrics.Consumer{Topic: c.o.TopicPrefix + h.Topic, Function: h.Function}
			a := arrow{
				Rate: rate(before.at, now.at, before.handled[h.Group], now.handled[h.Group]), Lag: lags[h.Group],
				Open: open[gauge.Letters{Topic: consumer.Topic, Consumer: consumer.Function}], Lost: lost[consumer], Reasons: map[string]int{},
			}
			for reason, n := range dead[consumer] {
				if n > 0 {
					a.Reasons[reason] = n
				}
			}
			f.Sources[h.Group] = a
		}
		return f, nil
	}
}

// rate returns a rate per second, to one decimal, so that noise is not a change.
func rate(from, to time.Time, before, after int64) float64 {
	seconds := to.Sub(from).Seconds()
	if seconds <= 0 || after <= before {
		return 0
	}
	return float64(int64(float64(after-before)/seconds*10+0.5)) / 10
}

// takeSample reads all offsets from the brokers. A group's handled records count from the oldest existing record.
func (c *Console) takeSample(ctx context.Context) (now sample, lags map[string]int64, err error) {
	err = c.withReader(ctx, func(reader *kafka.Reader) error {
		now = sample{at: time.Now(), topics: map[string]int64{}, handled: map[string]int64{}}
		lags = map[string]int64{}
		var topics []string
		committed := make([]map[int32]int64, len(c.o.Wiring.Sources))
		for i, source := range c.o.Wiring.Sources {
			var err error
			if committed[i], err = reader.Committed(source.Group, source.Topic); err != nil && !errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
				return err
			}
			topics = append(topics, source.Topic)
		}
		for _, topic := range c.topology.Topics {
			topics = append(topics, c.o.TopicPrefix+topic.Name)
		}
		spans, err := reader.SpansOf(topics) // after the offsets: what is handled meanwhile counts as lag, which is never negative
		if err != nil {
			return err
		}
		for topic, spans := range spans {
			for _, span := range spans {
				now.topics[c.plain(topic)] += span.To
			}
		}
		for i, source := range c.o.Wiring.Sources {
			group := c.plain(source.Group)
			for _, span := range spans[source.Topic] {
				at := max(committed[i][span.Partition], span.From)
				now.handled[group] += at
				lags[group] += max(0, span.To-at)
			}
		}
		return nil
	})
	return now, lags, err
}

func (c *Console) plain(name string) string { return strings.TrimPrefix(name, c.o.TopicPrefix) }

// withReader calls do with a reader, once one is free. It discards a failed reader: the next one reconnects.
func (c *Console) withReader(ctx context.Context, do func(*kafka.Reader) error) (err error) {
	reader, err := c.takeReader(ctx)
	if err != nil {
		return err
	}
	defer func() { c.readers <- reader }()
	if reader == nil {
		if reader, err = kafka.NewReader(c.o.Brokers, c.o.Login); err != nil {
			return err
		}
	}
	if err = do(reader); err != nil {
		_ = reader.Close() // the reason is err
		reader = nil
	}
	return err
}

func (c *Console) takeReader(ctx context.Context) (*kafka.Reader, error) {
	select {
	case reader := <-c.readers:
		return reader, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a free Kafka reader: %w", ctx.Err())
	}
}

// closeReaders closes the connections to the brokers, each once it is idle.
func (c *Console) closeReaders(ctx context.Context) error {
	var errs []error
	for range maxReaders {
		reader, err := c.takeReader(ctx)
		if err == nil && reader != nil {
			err = reader.Close()
		}
		errs = append(errs, err)
	}
	for range maxReaders {
		c.readers <- nil
	}
	return errors.Join(errs...)
}

// readOutboxes reads the unsent rows by schema.
func (c *Console) readOutboxes(ctx context.Context) (any, error) { return c.outboxes(ctx) }

// outboxes counts the unsent rows.
func (c *Console) outboxes(ctx context.Context) (map[string]waiting, error) {
	counted := map[string]waiting{}
	for _, name := range c.o.Wiring.Outboxes() {
		unsent, err := backlog.Count(ctx, c.outboxPools[name], name, maxCounted)
		if err != nil {
			return nil, err
		}
		counted[name] = waiting{
			Waiting:       min(maxCounted, unsent.New+unsent.Waiting+unsent.Parked),
			Parked:        unsent.Parked,
			OldestSeconds: int64(max(unsent.OldestDue, unsent.OldestParked) / time.Second),
			LagSeconds:    int64(unsent.OldestDue / time.Second),
		}
	}
	return counted, nil
}
