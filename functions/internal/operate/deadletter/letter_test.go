package deadletter_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/operate/deadletter"
	"example.com/orders/knative"
)

func TestLetterOfTheHarnessIsTheEventThatItsConsumerWasGiven(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.put(t, b.ofHarness("order-1", 7, append(attributes("order-1", 1), header("ce_correlationid", "flow-1"))))

	l := b.find(t, deadletter.Selector{})[0]

	assert.Equal(t, deadletter.Place{Topic: b.topic + ".dlq"}, l.Place)
	assert.Equal(t, deadletter.Place{Topic: b.topic, Partition: 2, Offset: 7}, l.Origin)
	assert.Equal(t, "reserve-stock", l.Consumer)
	assert.Equal(t, "order-1", l.Key)
	assert.Equal(t, deadletter.Open, l.State)
	assert.Equal(t, 11, l.Attempts)
	assert.Equal(t, http.StatusServiceUnavailable, l.Status)
	assert.Equal(t, "503: out of luck", l.Error)
	assert.Equal(t, time.Date(2026, 11, 25, 12, 0, 0, 5e8, time.UTC), l.At)
	assert.Equal(t, "order-1#1", l.Event.ID())
	assert.JSONEq(t, `{"orderId":"order-1"}`, string(l.Event.Data()))
	assert.Equal(t, map[string]any{
		"partitionkey": "order-1", "correlationid": "flow-1", "consumer": "reserve-stock",
		"knativekafkapartition": "2", "knativekafkaoffset": "7",
	}, l.Event.Extensions(), "what the source added, and nothing of the dead letter")
}

func TestLetterOfKnativeIsTheEventThatItsConsumerWasGiven(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.put(t, b.ofKnative(attributes("order-1", 1)))

	l := b.find(t, deadletter.Selector{})[0]

	assert.Equal(t, "order-1", l.Key, "from partitionkey")
	assert.Equal(t, deadletter.Place{Topic: b.topic, Partition: 1, Offset: 7}, l.Origin)
	assert.Equal(t, "reserve-stock", l.Consumer)
	assert.Equal(t, http.StatusUnprocessableEntity, l.Status)
	assert.Equal(t, "never will", l.Error)
	assert.WithinDuration(t, time.Now(), l.At, time.Minute)
	assert.Equal(t, map[string]any{
		"partitionkey": "order-1", "consumer": "reserve-stock", "knativekafkapartition": "1", "knativekafkaoffset": "7",
	}, l.Event.Extensions())
}

func TestRecordThatWasNoCloudEventGetsItsPlaceBack(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.put(t, b.ofHarness("k", 7, []sarama.RecordHeader{header("Their-Own", "kept")}))

	l := b.find(t, deadletter.Selector{})[0]

	assert.Equal(t, "dev.knative.kafka.event", l.Event.Type())
	assert.Equal(t, "partition:2/offset:7", l.Event.ID())
	assert.Equal(t, "partition:2#7", l.Event.Subject())
	assert.Equal(t, "/apis/v1/namespaces/shop/kafkasources/reserve-stock.order.created#"+b.topic, l.Event.Source())
	assert.Equal(t, map[string]any{
		"key": "k", "partitionkey": "k", "kafkaheadertheirown": "kept", "consumer": "reserve-stock",
		"knativekafkapartition": "2", "knativekafkaoffset": "7",
	}, l.Event.Extensions())
}

func TestInvalidHeadersOfALetterAreIgnored(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.put(t,
		&sarama.ProducerMessage{Topic: b.topic + ".dlq", Value: sarama.StringEncoder("no headers at all")},
		&sarama.ProducerMessage{Topic: b.topic + ".dlq", Headers: append(attributes("order-1", 1),
			header("ce_consumer", "reserve-stock"), header("ce_deadlettertopic", b.topic), header("ce_deadletterpartition", "many"),
			header("ce_deadletteroffset", "-5"), header("ce_deadletterattempts", "x"), header("ce_deadlettertime", "yesterday"))})

	found := b.find(t, deadletter.Selector{})

	require.Len(t, found, 2)
	assert.Empty(t, found[0].Consumer)
	assert.Empty(t, found[0].Key)
	assert.EqualValues(t, -1, found[0].Origin.Offset)
	assert.EqualValues(t, -1, found[1].Origin.Offset)
	assert.NotContains(t, found[1].Event.Extensions(), "knativekafkaoffset")
	assert.Zero(t, found[1].Attempts)
	assert.WithinDuration(t, time.Now(), found[1].At, time.Minute)
}

func TestFindPicksLetters(t *testing.T) {
	b := newBench(t)
	canceled := strings.TrimSuffix(b.topic, "order.created") + "order.canceled.dlq"
	b.put(t, b.ofHarness("order-1", 1, attributes("order-1", 1)), b.ofHarness("order-2", 2, attributes("order-2", 1)), b.ofKnative(attributes("order-3", 1)))
	b.put(t, &sarama.ProducerMessage{Topic: canceled, Key: sarama.StringEncoder("order-1"), Headers: append(attributes("order-1", 2), header("ce_consumer", "release-stock"))})
	require.NoError(t, b.Journal.Park(t.Context(), b.selected(t, deadletter.Selector{Key: "order-2"}), "", func(deadletter.Summary, deadletter.Result, string) {}))
	group := deadletter.GroupOf(b.selected(t, deadletter.Selector{Key: "order-3"})[0])
	zero, one, two := int32(0), int64(1), int32(2)
	for name, test := range map[string]struct {
		deadletter.Selector
		want []string
	}{
		"all":                    {deadletter.Selector{}, []string{"order-1#1", "order-1#2", "order-2#1", "order-3#1"}},
		"of a topic":             {deadletter.Selector{Topic: canceled}, []string{"order-1#2"}},
		"of a consumer":          {deadletter.Selector{Consumer: "release-stock"}, []string{"order-1#2"}},
		"of a key":               {deadletter.Selector{Key: "order-1"}, []string{"order-1#1", "order-1#2"}},
		"of a key from Knative":  {deadletter.Selector{Key: "order-3"}, []string{"order-3#1"}},
		"at an offset":           {deadletter.Selector{Topic: b.topic + ".dlq", Partition: &zero, Offset: &one}, []string{"order-2#1"}},
		"of no such partition":   {deadletter.Selector{Topic: b.topic + ".dlq", Partition: &two}, nil},
		"in a state":             {deadletter.Selector{States: []deadletter.State{deadletter.Parked}}, []string{"order-2#1"}},
		"in one of these states": {deadletter.Selector{Topic: b.topic + ".dlq", States: []deadletter.State{deadletter.Open, deadletter.Replayed}}, []string{"order-1#1", "order-3#1"}},
		"of a group":             {deadletter.Selector{Group: group}, []string{"order-3#1"}},
		"of a consumer without":  {deadletter.Selector{Consumer: "notify"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var ids []string
			for _, l := range b.find(t, test.Selector) {
				ids = append(ids, l.Event.ID())
			}
			assert.ElementsMatch(t, test.want, ids)
		})
	}

	b.Sources = append(b.Sources, knative.KafkaSource{Topic: b.topic + ".new", Sink: "notify", Delivery: knative.Delivery{DeadLetter: b.topic + ".new.dlq"}})
	assert.Len(t, b.find(t, deadletter.Selector{}), 4, "a topic of the wiring that is not there yet has no letters")
	_, err := b.Find(t.Context(), deadletter.Selector{Topic: b.topic + ".typo.dlq"})
	assert.ErrorIs(t, err, sarama.ErrUnknownTopicOrPartition, "one that was asked for is missed")
}

func TestLanesKeepTheOrderOfEachKey(t *testing.T) {
	t.Parallel()
	at := time.Now()
	letter := func(key, source, id, topic string, offset int64, later time.Duration) deadletter.Summary {
		return deadletter.Summary{
			Place: deadletter.Place{Topic: topic + ".dlq", Offset: offset + 100}, Origin: deadletter.Place{Topic: topic, Offset: offset},
			Key: key, At: at.Add(later), EventSource: source, EventID: id,
		}
	}
	ids := func(lanes [][]deadletter.Summary) (all [][]string) {
		for _, lane := range lanes {
			var ids []string
			for _, l := range lane {
				ids = append(ids, l.EventID)
			}
			all = append(all, ids)
		}
		return all
	}

	lanes := deadletter.Lanes([]deadletter.Summary{
		letter("b", "/orders", "b#10", "order.canceled", 1, 3*time.Second),
		letter("b", "/orders", "b#9", "order.failed", 2, 4*time.Second),
		letter("b", "/orders", "b#1", "order.created", 3, 9*time.Second),
		letter("mixed", "/orders", "mixed#2", "order.canceled", 5, 2*time.Second),
		letter("mixed", "/inventory", "mixed#1", "order.canceled", 6, 1*time.Second),
		letter("mixed", "/orders", "mixed#1", "order.canceled", 4, 8*time.Second),
		letter("", "/foreign", "partition:0/offset:2", "order.created", 2, 6*time.Second),
		letter("", "/foreign", "partition:0/offset:1", "order.created", 1, 5*time.Second),
	})

	assert.Equal(t, [][]string{
		{"mixed#1", "mixed#2", "mixed#1"}, // by offset: 4, 5, 6
		{"b#1", "b#9", "b#10"},            // by version, as numbers
		{"partition:0/offset:1"},
		{"partition:0/offset:2"},
	}, ids(lanes))
}
