package kafka_test

import (
	"testing"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/kafka"
)

// BenchmarkEncode measures the encoding of an event into a record.
func BenchmarkEncode(b *testing.B) {
	e := created()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := kafka.Encode(b.Context(), e); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecode measures the decoding of a record into an event.
func BenchmarkDecode(b *testing.B) {
	m, err := kafka.Encode(b.Context(), created())
	require.NoError(b, err)
	key, err := m.Key.Encode()
	require.NoError(b, err)
	value, err := m.Value.Encode()
	require.NoError(b, err)
	record := &sarama.ConsumerMessage{Topic: m.Topic, Partition: 2, Offset: 41, Key: key, Value: value}
	for _, h := range m.Headers {
		record.Headers = append(record.Headers, &h)
	}
	b.ReportAllocs()
	for b.Loop() {
		if e := kafka.Decode(record, "orders", "reserve-stock"); e.Type() != m.Topic {
			b.Fatal(e)
		}
	}
}
