package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"
)

// Reader reads the records of topics without a consumer group: it commits nothing and affects no consumer.
type Reader struct {
	client   sarama.Client
	consumer sarama.Consumer
}

// readerPatience bounds the wait for the next record of a span.
const readerPatience = 30 * time.Second

// NewReader returns a reader of the topics at the brokers, each host:port, which logs in as a principal; nil stands for the
// process's own login. It connects at the first read.
func NewReader(brokers []string, login *Login) (*Reader, error) {
	c := login.apply(config("orders-reader"))
	c.Metadata.AllowAutoTopicCreation = false // reading about a topic must not create it
	c.Consumer.Return.Errors = true
	// All records of a span exist already: only a fetch beyond the end waits this long before the span ends.
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

// Span is the records of a partition from offset From up to, but not including, To.
type Span struct {
	Topic     string
	Partition int32
	From, To  int64
}

// Spans returns the current span of each partition of a topic. It returns an error that wraps
// sarama.ErrUnknownTopicOrPartition if the topic does not exist.
func (r *Reader) Spans(topic string) ([]Span, error) {
	partitions, err := r.client.Partitions(topic)
	if err != nil {
		return nil, fmt.Errorf("partitions of %s: %w", topic, err)
	}
	oldest, err := r.offsetsAt(topic, partitions, sarama.OffsetOldest)
	if err != nil {
		return nil, fmt.Errorf("oldest offsets of %s: %w", topic, err)
	}
	newest, err := r.offsetsAt(topic, partitions, sarama.OffsetNewest)
	if err != nil {
		return nil, fmt.Errorf("newest offsets of %s: %w", topic, err)
	}
	spans := make([]Span, len(partitions))
	for i, partition := range partitions {
		spans[i] = Span{Topic: topic, Partition: partition, From: oldest[partition], To: newest[partition]}
	}
	return spans, nil
}

// offsetsAt returns the offset of each partition at a time, by one request to each broker. After an error it asks again with new
// metadata, as sarama's GetOffset does: the broker may no longer lead a partition.
func (r *Reader) offsetsAt(topic string, partitions []int32, at int64) (map[int32]int64, error) {
	offsets, err := listOffsets(r.client, topic, partitions, at)
	if err == nil {
		return offsets, nil
	}
	if err := r.client.RefreshMetadata(topic); err != nil {
		return nil, err
	}
	return listOffsets(r.client, topic, partitions, at)
}

func listOffsets(client sarama.Client, topic string, partitions []int32, at int64) (map[int32]int64, error) {
	admin, err := sarama.NewClusterAdminFromClient(client) // closing it would close the client
	if err != nil {
		return nil, err
	}
	asked := make(map[int32]int64, len(partitions))
	for _, partition := range partitions {
		asked[partition] = at
	}
	answers, err := admin.ListOffsets(map[string]map[int32]int64{topic: asked}, nil)
	if err != nil {
		return nil, err
	}
	offsets := make(map[int32]int64, len(partitions))
	for partition, answer := range answers[topic] {
		if answer.Err != nil && !errors.Is(answer.Err, sarama.ErrNoError) {
			return nil, fmt.Errorf("partition %d: %w", partition, answer.Err)
		}
		offsets[partition] = answer.Offset
	}
	return offsets, nil
}

// Since returns the offset of a partition's first record from a time on, and its end if there is none.
func (r *Reader) Since(topic string, partition int32, at time.Time) (int64, error) {
	offset, err := r.client.GetOffset(topic, partition, at.UnixMilli())
	if err == nil && offset < 0 {
		offset, err = r.client.GetOffset(topic, partition, sarama.OffsetNewest)
	}
	if err != nil {
		return 0, fmt.Errorf("offset of %s/%d at %s: %w", topic, partition, at.UTC().Format(time.RFC3339), err)
	}
	return offset, nil
}

// Read calls visit with the records of a span in order of offset, and stops at its first error. It fails if the next record
// does not arrive within half a minute.
func (r *Reader) Read(ctx context.Context, span Span, visit func(*sarama.ConsumerMessage) error) error {
	if span.From >= span.To {
		return nil
	}
	partition, err := r.consumer.ConsumePartition(span.Topic, span.Partition, span.From)
	if err != nil {
		return fmt.Errorf("read %s/%d from offset %d: %w", span.Topic, span.Partition, span.From, err)
	}
	defer func() { _ = partition.Close() }() // it reports unread errors, which no longer matter
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
			return fmt.Errorf("read %s/%d: offset %d of %d did not arrive within %s", span.Topic, span.Partition, next, span.To, readerPatience)
		case <-ctx.Done():
			return fmt.Errorf("read %s/%d at offset %d: %w", span.Topic, span.Partition, next, ctx.Err())
		}
	}
}

// Close closes the connections.
func (r *Reader) Close() error { return errors.Join(r.consumer.Close(), r.client.Close()) }
