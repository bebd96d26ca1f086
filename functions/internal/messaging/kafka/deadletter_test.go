package kafka_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/observe/exposition"
	"example.com/orders/functions/internal/testkit/kafkatest"
)

// header returns the value of the first header with a name, "" without one.
func header(m *sarama.ConsumerMessage, name string) string {
	for _, h := range m.Headers {
		if string(h.Key) == name {
			return string(h.Value)
		}
	}
	return ""
}

func TestSourceSetsRecordsAsideByteForByte(t *testing.T) {
	c := kafkatest.Start(t)
	name := topic(t, c, "order.created", 1)
	producer := newProducer(t, c)
	originals := []*sarama.ProducerMessage{
		{Topic: name, Key: sarama.ByteEncoder{0xff, 0, 1}, Value: sarama.ByteEncoder("\x00 binary \xfe"), Headers: []sarama.RecordHeader{
			{Key: []byte("twice"), Value: []byte("1")}, {Key: []byte("Other"), Value: nil}, {Key: []byte("twice"), Value: []byte{}},
			{Key: []byte{}, Value: []byte("no name")},
		}},
		{Topic: name},
		{Topic: name, Key: sarama.ByteEncoder{}, Value: sarama.ByteEncoder{}},
	}
	require.Equal(t, make([]error, len(originals)), producer.Write(t.Context(), originals))
	want := c.Records(t, name, len(originals))
	p := newProbe(func(context.Context, event.Event, int) error {
		return delivery.Result(delivery.Poison(errors.New("never\nwill")))
	})
	o := options(t, c, name, p)
	o.Spec.Ordered = true // so that the dead letters are in the order of the records
	begin := time.Now().Add(-time.Second)
	start(t, o)

	letters := c.Records(t, name+".dlq", len(originals))

	for i, letter := range letters {
		assert.Equal(t, want[i].Key, letter.Key)
		assert.Equal(t, want[i].Value, letter.Value)
		n := len(want[i].Headers)
		require.Len(t, letter.Headers, n+8)
		for h := range n {
			assert.Equal(t, want[i].Headers[h], letter.Headers[h], "header %d of record %d", h, i)
		}
		at, err := time.Parse(time.RFC3339Nano, header(letter, "ce_deadlettertime"))
		require.NoError(t, err)
		assert.WithinRange(t, at, begin, time.Now().Add(time.Second))
		added := map[string]string{}
		for _, h := range letter.Headers[n:] {
			added[string(h.Key)] = string(h.Value)
		}
		delete(added, "ce_deadlettertime")
		assert.Equal(t, map[string]string{
			"ce_consumer": "reserve-stock", "ce_deadlettertopic": name, "ce_deadletterpartition": "0",
			"ce_deadletteroffset": []string{"0", "1", "2"}[i], "ce_deadletterattempts": "1", "ce_knativeerrorcode": "422",
			"ce_deadlettererror": "422: never will",
		}, added)
	}
}

func TestSourceReplacesAnOlderFailure(t *testing.T) {
	c := kafkatest.Start(t)
	name := topic(t, c, "order.created", 1)
	producer := newProducer(t, c)
	require.Equal(t, []error{nil}, producer.Write(t.Context(), []*sarama.ProducerMessage{{Topic: name, Headers: []sarama.RecordHeader{
		{Key: []byte("ce_deadletterattempts"), Value: []byte("11")}, {Key: []byte("kept"), Value: []byte("yes")},
	}}}))
	p := newProbe(func(context.Context, event.Event, int) error {
		return delivery.Poison(errors.New(strings.Repeat("ä", 1000)))
	})
	o := options(t, c, name, p)
	o.Spec.Delivery.Retry = 0
	start(t, o)

	letter := c.Records(t, name+".dlq", 1)[0]

	assert.Len(t, letter.Headers, 9)
	assert.Equal(t, "yes", header(letter, "kept"))
	assert.Equal(t, "1", header(letter, "ce_deadletterattempts"))
	assert.Equal(t, strings.Repeat("ä", 250), header(letter, "ce_deadlettererror"), "at most 500 bytes of whole characters")
	assert.Equal(t, "500", header(letter, "ce_knativeerrorcode"))
}

func TestSourceCountsDeadLettersByReason(t *testing.T) {
	c := kafkatest.Start(t)
	name := topic(t, c, "order.created", 1)
	answers := map[string]int{
		"poison": http.StatusUnprocessableEntity, "exhausted": http.StatusServiceUnavailable,
		"refused": http.StatusForbidden, "moved": http.StatusFound,
	}
	p := newProbe(func(ctx context.Context, e event.Event, _ int) error { return status(answers[e.ID()])(ctx) })
	o := options(t, c, name, p)
	registry := exposition.New()
	o.Metrics = registry.Metrics
	var batch []event.Event
	for id := range answers {
		batch = append(batch, fact(id, id, "x"))
	}
	publish(t, newProducer(t, c), batch...)
	r := start(t, o)
	c.Records(t, name+".dlq", len(answers))
	r.stop(t)

	counted := map[string]float64{}
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == "orders_dead_letters_total" {
				labels := map[string]string{}
				for _, pair := range m.GetLabel() {
					labels[pair.GetName()] = pair.GetValue()
				}
				assert.Equal(t, name, labels["topic"])
				assert.Equal(t, "reserve-stock", labels["consumer"])
				counted[labels["reason"]] = m.GetCounter().GetValue()
			}
		}
	}
	assert.Equal(t, map[string]float64{"poison": 1, "exhausted": 1, "rejected_4xx": 1, "rejected_3xx": 1}, counted)
}
