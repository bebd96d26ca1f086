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
	counted := map[string]bool{}
	for _, source := range l.sources {
		// Before the ends of the partitions, which only grow, so that the lag is never below zero.
		committed, err := l.reader.Committed(source.Group, source.Topic)
		if err != nil {
			return nil, err
		}
		spans, err := l.reader.Spans(source.Topic)
		if err != nil {
			return nil, err
		}
		for _, span := range spans {
			behind := span.To - max(committed[span.Partition], span.From) // records past the retention will not be handled any more
			values = append(values, gauge(consumerLag, float64(max(0, behind)), source.Group, source.Topic, strconv.Itoa(int(span.Partition))))
		}
		letters := source.Delivery.DeadLetter
		if letters == "" || counted[letters] {
			continue
		}
		counted[letters] = true
		if spans, err = l.reader.Spans(letters); err != nil {
			return nil, err
		}
		n := int64(0)
		for _, span := range spans {
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
