package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"
)

// Reader reads what topics hold, without a consumer group: it commits nothing and disturbs nobody.
type Reader struct {
	client   sarama.Client
	consumer sarama.Consumer
}

// readerPatience is how long a broker may let the next record of a span wait.
const readerPatience = 30 * time.Second

// NewReader returns a reader of the topics at the brokers, each host:port. It connects when it reads.
func NewReader(brokers []string) (*Reader, error) {
	c := config("orders-reader")
	c.Metadata.AllowAutoTopicCreation = false // looking at a topic must not make it
	c.Consumer.Return.Errors = true
	// What is read is there already: only the fetch beyond the end waits so long, before a span is done with.
	c.Consumer.MaxWaitTime = 100 * time.Millisecond
	client, err := sarama.NewClient(brokers, c)
	if err != nil {
		return nil, fmt.Errorf("read from Kafka at %v: %w", brokers, err)
	}
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read from Kafka at %v: %w", brokers, err), client.Close())
	}
	return &Reader{client: client, consumer: consumer}, nil
}

// Span is the records of a partition from one offset up to, and without, another.
type Span struct {
	Topic     string
	Partition int32
	From, To  int64
}

// Spans returns what each partition of a topic holds at this moment. A topic that is not there is an error that wraps
// sarama.ErrUnknownTopicOrPartition.
func (r *Reader) Spans(topic string) ([]Span, error) {
	partitions, err := r.client.Partitions(topic)
	if err != nil {
		return nil, fmt.Errorf("partitions of %s: %w", topic, err)
	}
	spans := make([]Span, len(partitions))
	for i, partition := range partitions {
		from, err := r.client.GetOffset(topic, partition, sarama.OffsetOldest)
		if err != nil {
			return nil, fmt.Errorf("oldest offset of %s/%d: %w", topic, partition, err)
		}
		to, err := r.client.GetOffset(topic, partition, sarama.OffsetNewest)
		if err != nil {
			return nil, fmt.Errorf("newest offset of %s/%d: %w", topic, partition, err)
		}
		spans[i] = Span{Topic: topic, Partition: partition, From: from, To: to}
	}
	return spans, nil
}

// Read gives the records of a span to visit, in the order of their offsets, and ends at the first error of visit. It
// fails when the next record does not come within half a minute.
func (r *Reader) Read(ctx context.Context, span Span, visit func(*sarama.ConsumerMessage) error) error {
	if span.From >= span.To {
		return nil
	}
	partition, err := r.consumer.ConsumePartition(span.Topic, span.Partition, span.From)
	if err != nil {
		return fmt.Errorf("read %s/%d from offset %d: %w", span.Topic, span.Partition, span.From, err)
	}
	defer func() { _ = partition.Close() }() // reports the errors that were not read, and nothing is read after it
	timer := time.NewTimer(readerPatience)
	defer timer.Stop()
	next := span.From
	for {
		select {
		case m := <-partition.Messages():
			if m.Offset >= span.To {
				return nil
			}
			if err := visit(m); err != nil {
				return err
			}
			if next = m.Offset + 1; next >= span.To {
				return nil
			}
			timer.Reset(readerPatience)
		case err := <-partition.Errors():
			return fmt.Errorf("read %s/%d at offset %d: %w", span.Topic, span.Partition, next, err.Err)
		case <-timer.C:
			return fmt.Errorf("read %s/%d: offset %d of %d did not come within %s", span.Topic, span.Partition, next, span.To, readerPatience)
		case <-ctx.Done():
			return fmt.Errorf("read %s/%d at offset %d: %w", span.Topic, span.Partition, next, ctx.Err())
		}
	}
}

// Close ends the connections.
func (r *Reader) Close() error { return errors.Join(r.consumer.Close(), r.client.Close()) }
