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
	spans, err := r.SpansOf([]string{topic})
	if err == nil && len(spans) == 0 {
		err = fmt.Errorf("partitions of %s: %w", topic, sarama.ErrUnknownTopicOrPartition)
	}
	return spans[topic], err
}

// SpansOf returns the current spans of several topics, by two requests to each broker however many they are. A topic that does
// not exist has none. After an error it asks again with new metadata, as sarama's GetOffset does: the broker may no longer lead a
// partition, or a topic is gone.
func (r *Reader) SpansOf(topics []string) (map[string][]Span, error) {
	for again := false; ; again = true {
		of, err := r.partitions(topics)
		if err != nil {
			return nil, err
		}
		spans, err := r.spans(of)
		if err == nil || again {
			return spans, err
		}
		if err := r.client.RefreshMetadata(topics...); err != nil && !errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
			return nil, fmt.Errorf("metadata of %v: %w", topics, err)
		}
	}
}

// partitions returns the partitions of those topics that exist.
func (r *Reader) partitions(topics []string) (map[string][]int32, error) {
	of := make(map[string][]int32, len(topics))
	for _, topic := range topics {
		partitions, err := r.client.Partitions(topic)
		if errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("partitions of %s: %w", topic, err)
		}
		of[topic] = partitions
	}
	return of, nil
}

// spans returns the spans of partitions by topic, in the order of the partitions.
func (r *Reader) spans(of map[string][]int32) (map[string][]Span, error) {
	spans := make(map[string][]Span, len(of))
	if len(of) == 0 {
		return spans, nil
	}
	oldest, err := listOffsets(r.client, of, sarama.OffsetOldest)
	if err != nil {
		return nil, fmt.Errorf("oldest offsets: %w", err)
	}
	newest, err := listOffsets(r.client, of, sarama.OffsetNewest)
	if err != nil {
		return nil, fmt.Errorf("newest offsets: %w", err)
	}
	for topic, partitions := range of {
		for _, p := range partitions {
			spans[topic] = append(spans[topic], Span{Topic: topic, Partition: p, From: oldest[topic][p], To: newest[topic][p]})
		}
	}
	return spans, nil
}

// listOffsets returns the offset of each partition at a time, by one request to each broker.
func listOffsets(client sarama.Client, of map[string][]int32, at int64) (map[string]map[int32]int64, error) {
	admin, err := sarama.NewClusterAdminFromClient(client) // closing it would close the client
	if err != nil {
		return nil, err
	}
	asked := make(map[string]map[int32]int64, len(of))
	for topic, partitions := range of {
		asked[topic] = make(map[int32]int64, len(partitions))
		for _, partition := range partitions {
			asked[topic][partition] = at
		}
	}
	answers, err := admin.ListOffsets(asked, nil)
	if err != nil {
		return nil, err
	}
	offsets := make(map[string]map[int32]int64, len(of))
	for topic, partitions := range answers {
		offsets[topic] = make(map[int32]int64, len(partitions))
		for partition, answer := range partitions {
			if answer.Err != nil && !errors.Is(answer.Err, sarama.ErrNoError) {
				return nil, fmt.Errorf("%s/%d: %w", topic, partition, answer.Err)
			}
			offsets[topic][partition] = answer.Offset
		}
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
