package deadletter_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/operate/deadletter"
)

// refresh brings an index up to date.
func (b *bench) refresh(t *testing.T, x *deadletter.Index) {
	t.Helper()
	require.NoError(t, x.Refresh(t.Context(), b.Reader, b.db))
}

func TestIndexReadsEachLetterOnceAndFollowsEveryOperator(t *testing.T) {
	b, c := newBench(t), newConsumers(t)
	b.putMany(t, 3)
	x := deadletter.NewIndex(b.Sources, 100)
	b.refresh(t, x)
	assert.Equal(t, 3, x.Count(deadletter.Open))
	assert.EqualValues(t, 1, b.reads.reads.Load())
	b.refresh(t, x)
	assert.EqualValues(t, 1, b.reads.reads.Load(), "nothing is new")

	var o outcomes
	require.NoError(t, b.journal(t, "bob").Park(t.Context(), x.Select(deadletter.Filter{Key: "order-1"}), "", o.report))
	b.put(t, b.ofHarness("order-9", 9, attributes("order-9", 1)))
	b.refresh(t, x)

	assert.EqualValues(t, 2, b.reads.reads.Load(), "the new one is read")
	assert.Equal(t, 3, x.Count(deadletter.Open))
	assert.Equal(t, 1, x.Count(deadletter.Parked))
	c.answering(422)
	b.run(t, c)
	b.refresh(t, x)
	b.refresh(t, x)
	failed := x.Select(deadletter.Filter{Key: "order-9"})
	require.Len(t, failed, 1)
	assert.Equal(t, 1, failed[0].Failures, "an action counts once, however often it is read")
	assert.Equal(t, b.selected(t, deadletter.Selector{Key: "order-9"}), failed, "it is what a search finds")
}

func TestIndexBeginsWithTheActionsThatThereAre(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.putMany(t, 2)
	var o outcomes
	require.NoError(t, b.Journal.Discard(t.Context(), b.selected(t, deadletter.Selector{Key: "order-0"}), "", o.report))

	x := deadletter.NewIndex(b.Sources, 100)
	b.refresh(t, x)

	assert.Equal(t, 1, x.Count(deadletter.Open))
	assert.Equal(t, 1, x.Count(deadletter.Discarded))
}

// shelf is a reader of one partition of a topic, without a broker.
type shelf struct {
	topic    string
	from, to int64
	err      error
	read     []kafka.Span
}

func (s *shelf) Spans(topic string) ([]kafka.Span, error) {
	if topic != s.topic {
		return nil, sarama.ErrUnknownTopicOrPartition
	}
	return []kafka.Span{{Topic: topic, From: s.from, To: s.to}}, s.err
}

func (s *shelf) Read(_ context.Context, span kafka.Span, visit func(*sarama.ConsumerMessage) error) error {
	s.read = append(s.read, span)
	for offset := span.From; offset < span.To; offset++ {
		order := fmt.Sprintf("order-%d", offset)
		var headers []*sarama.RecordHeader
		for _, h := range append(attributes(order, 1), header("ce_consumer", "reserve-stock"), header(kafka.HeaderTopic, "order.created"),
			header(kafka.HeaderError, fmt.Sprintf("%d: order %d of kind %c", 500+offset%3, offset, 'A'+rune(offset%3)))) {
			headers = append(headers, &h)
		}
		err := visit(&sarama.ConsumerMessage{
			Topic: span.Topic, Partition: span.Partition, Offset: offset, Key: []byte(order), Headers: headers,
			Timestamp: time.Unix(1_000_000+offset, 0),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func TestAHundredThousandLettersArePagedThroughAndGrouped(t *testing.T) {
	b := newBench(t)
	s := &shelf{topic: b.topic + ".dlq", to: 100_000}
	x := deadletter.NewIndex(b.Sources, deadletter.MaxIndexed)
	require.NoError(t, x.Refresh(t.Context(), s, b.db))

	page := x.Page(deadletter.Filter{State: deadletter.Open}, 50_000, 50)

	assert.Equal(t, 100_000, page.Total)
	require.Len(t, page.Letters, 50)
	assert.EqualValues(t, 49_999, page.Letters[0].Offset, "the newest are first")
	require.Len(t, page.Groups, 3, "numbers do not split groups, kinds do")
	for _, g := range page.Groups {
		assert.InDelta(t, 33_333, g.Count, 1)
		assert.Regexp(t, `^50[012]: order … of kind [ABC]$`, g.Pattern)
	}
	kind := page.Groups[1]
	of := x.Page(deadletter.Filter{Group: kind.ID}, 0, 10)
	assert.Equal(t, kind.Count, of.Total)
	assert.Equal(t, kind.Last, of.Letters[0].At)
	assert.Len(t, of.Groups, 3, "the others are still offered")
	assert.Equal(t, kind.ID, deadletter.GroupOf(of.Letters[0]))
	assert.Equal(t, map[deadletter.State]int{deadletter.Open: kind.Count}, of.States)
	assert.Len(t, x.Select(deadletter.Filter{Group: kind.ID}), kind.Count)
	assert.Empty(t, x.Page(deadletter.Filter{}, 200_000, 50).Letters, "beyond the last page")
	assert.Equal(t, []string{"reserve-stock"}, page.Consumers)
	assert.Len(t, x.OfOrder("order-77"), 1)
}

func TestIndexIsBoundedAndFollowsItsTopics(t *testing.T) {
	b := newBench(t)
	s := &shelf{topic: b.topic + ".dlq", to: 50}
	x := deadletter.NewIndex(b.Sources, 20)
	require.NoError(t, x.Refresh(t.Context(), s, b.db))
	assert.Equal(t, []kafka.Span{{Topic: s.topic, From: 30, To: 50}}, s.read, "only what it keeps is read")
	page := x.Page(deadletter.Filter{}, 0, 100)
	assert.Equal(t, 20, page.Total)
	assert.EqualValues(t, 30, page.Beyond)

	s.to = 60
	require.NoError(t, x.Refresh(t.Context(), s, b.db))
	page = x.Page(deadletter.Filter{}, 0, 100)
	assert.Equal(t, 20, page.Total)
	assert.EqualValues(t, 40, page.Letters[19].Offset)

	s.from = 55 // retention
	require.NoError(t, x.Refresh(t.Context(), s, b.db))
	assert.Equal(t, 5, x.Page(deadletter.Filter{}, 0, 100).Total)

	s.from, s.to = 0, 3 // the topic was recreated
	require.NoError(t, x.Refresh(t.Context(), s, b.db))
	page = x.Page(deadletter.Filter{}, 0, 100)
	assert.Equal(t, 3, page.Total)
	assert.Zero(t, page.Beyond)

	s.err = errAway
	require.ErrorIs(t, x.Refresh(t.Context(), s, b.db), errAway)
	assert.Equal(t, 3, x.Count(deadletter.Open), "what was known stays known")
}
