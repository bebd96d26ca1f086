package gauge

import (
	"context"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/knative"
)

var (
	consumerLag = prometheus.NewDesc("orders_consumer_lag_events",
		"Records of a partition that a consumer group has not handled yet.", []string{"group", "topic", "partition"}, nil)
	deadLetterRecords = prometheus.NewDesc("orders_dead_letter_records",
		"Records in a dead-letter topic, in any state.", []string{"topic"}, nil)
)

// lag reads the offsets of the consumers.
type lag struct {
	brokers []string
	login   *kafka.Login
	sources []knative.KafkaSource

	mu     sync.Mutex
	reader *kafka.Reader // nil until the first reading, and after a failed one
	closed bool
}

// read ignores its ctx: the client has its own timeouts.
func (l *lag) read(context.Context) (values []prometheus.Metric, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, nil
	}
	if l.reader == nil {
		if l.reader, err = kafka.NewReader(l.brokers, l.login); err != nil {
			return nil, err
		}
	}
	if values, err = l.measure(); err != nil {
		_ = l.reader.Close() // the next reading reconnects
		l.reader = nil
	}
	return values, err
}

func (l *lag) measure() (values []prometheus.Metric, err error) {
	var topics []string
	committed := make([]map[int32]int64, len(l.sources))
	for i, source := range l.sources {
		// Before the ends of the partitions, which only grow, so that the lag is never below zero.
		if committed[i], err = l.reader.Committed(source.Group, source.Topic); err != nil {
			return nil, err
		}
		topics = append(topics, source.Topic)
		if source.Delivery.DeadLetter != "" {
			topics = append(topics, source.Delivery.DeadLetter)
		}
	}
	spans, err := l.reader.SpansOf(topics)
	if err != nil {
		return nil, err
	}
	counted := map[string]bool{}
	for i, source := range l.sources {
		for _, span := range spans[source.Topic] {
			behind := span.To - max(committed[i][span.Partition], span.From) // records past the retention will not be handled any more
			values = append(values, gauge(consumerLag, float64(max(0, behind)), source.Group, source.Topic, strconv.Itoa(int(span.Partition))))
		}
		letters := source.Delivery.DeadLetter
		if letters == "" || counted[letters] {
			continue
		}
		counted[letters] = true
		n := int64(0)
		for _, span := range spans[letters] {
			n += span.To - span.From
		}
		values = append(values, gauge(deadLetterRecords, float64(n), letters))
	}
	return values, nil
}

func (l *lag) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.reader == nil {
		return nil
	}
	reader := l.reader
	l.reader = nil
	return reader.Close()
}
