package console_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/testkit/functiontest"
)

func TestLettersAreReadReplayedParkedAndDiscarded(t *testing.T) {
	b := newBench(t)
	topic := b.cluster.Prefix + "order.confirmed.dlq"
	for n := range 3 {
		id := functiontest.OrderID()
		fact := functiontest.Event(t, events.OrderConfirmed{OrderID: id, CustomerEmail: "alice@example.com", TotalAmount: 1, CreatedAt: time.Now()}, 2)
		m := record(t, topic, fact,
			sarama.RecordHeader{Key: []byte(kafka.HeaderConsumer), Value: []byte("notify")},
			sarama.RecordHeader{Key: []byte(kafka.HeaderTopic), Value: []byte(b.cluster.Prefix + "order.confirmed")},
			sarama.RecordHeader{Key: []byte(kafka.HeaderError), Value: fmt.Append(nil, "<b>broken</b> ", n)})
		b.write(m)
	}
	type list struct {
		Letters []struct {
			Topic, State, Consumer, Error, EventType string
			Partition, Offset                        int
		}
		Actions []struct{ Action, Actor string }
	}
	found := watch(b, "deadletters:open", func(l list) bool { return len(l.Letters) == 3 }).Letters
	place := func(n int) string {
		return fmt.Sprintf(`{"topic":%q,"partition":%d,"offset":%d}`, found[n].Topic, found[n].Partition, found[n].Offset)
	}
	var full struct {
		Headers map[string]string
		Value   string
	}
	b.do(http.MethodGet, fmt.Sprintf("/console/deadletters/%s/%d/%d", found[0].Topic, found[0].Partition, found[0].Offset), "", &full)
	assert.Equal(t, "notify", full.Headers["ce_consumer"])
	assert.Contains(t, full.Value, `"eventType":"order.confirmed"`)

	change := func(action string, n int, dry bool) (answer []result) {
		b.do(http.MethodPost, "/console/deadletters", fmt.Sprintf(`{"action":%q,"reason":"why not","actor":"","dryRun":%t,"letters":[%s]}`, action, dry, place(n)), &answer)
		require.Len(t, answer, 1)
		return answer
	}
	would := change("replay", 0, true)
	assert.True(t, would[0].OK)
	assert.Equal(t, "would be sent to "+b.url+"/functions/notify", would[0].Detail)
	assert.Len(t, watch(b, "deadletters:open", func(list) bool { return true }).Letters, 3, "a dry run does nothing")
	assert.Equal(t, "replayed: notify answered 200", change("replay", 0, false)[0].Detail)
	assert.Equal(t, "parked", change("park", 1, false)[0].Detail)
	assert.Equal(t, "it is parked", change("park", 1, true)[0].Detail)
	assert.Equal(t, "discarded", change("discard", 2, false)[0].Detail)
	assert.False(t, change("replay", 2, false)[0].OK, "what was given up is not replayed")

	done := watch(b, "deadletters:open", func(l list) bool { return len(l.Letters) == 0 }).Actions
	require.Len(t, done, 4)
	assert.Equal(t, "DISCARDED", done[0].Action)
	assert.Equal(t, "console at 127.0.0.1", done[0].Actor)
	assert.Len(t, watch(b, "deadletters:parked", func(list) bool { return true }).Letters, 1)
}

func TestAForgedLetterIsShownAndNotReplayed(t *testing.T) {
	b := newBench(t)
	b.mux.HandleFunc("POST /functions/create-order", func(http.ResponseWriter, *http.Request) { t.Error("it was sent") })
	topic := b.cluster.Prefix + "order.created.dlq"
	b.write(&sarama.ProducerMessage{Topic: topic, Headers: []sarama.RecordHeader{
		{Key: []byte(kafka.HeaderConsumer), Value: []byte("create-order")},
		{Key: []byte(kafka.HeaderTopic), Value: []byte(b.cluster.Prefix + "order.created")},
	}})
	type letter struct {
		Consumer          string
		Forged            bool
		Partition, Offset int
	}
	l := watch(b, "deadletters:open", func(all struct{ Letters []letter }) bool { return len(all.Letters) == 1 }).Letters[0]
	assert.True(t, l.Forged)
	assert.Equal(t, "create-order", l.Consumer)

	for _, dry := range []bool{true, false} {
		var answer []result
		b.do(http.MethodPost, "/console/deadletters", fmt.Sprintf(`{"action":"replay","dryRun":%t,"letters":[{"topic":%q,"partition":%d,"offset":%d}]}`, dry, topic, l.Partition, l.Offset), &answer)
		require.Len(t, answer, 1)
		assert.False(t, answer[0].OK)
		assert.Contains(t, answer[0].Detail, "no source of the wiring")
	}
}

func TestALargeLetterIsShownByItsBeginning(t *testing.T) {
	b := newBench(t)
	var page struct {
		Value, Error      string
		Size              int
		Shortened, Base64 bool
		Headers           map[string]string
	}
	b.do(http.MethodGet, b.letter(strings.Repeat("é", 400_000)), "", &page)
	assert.Equal(t, strings.Repeat("é", 128<<10)+"…", page.Value)
	assert.Equal(t, 800_000, page.Size)
	assert.True(t, page.Shortened)
	assert.Equal(t, strings.Repeat("é", 2<<10)+"…", page.Error)
	assert.Equal(t, page.Error, page.Headers[kafka.HeaderError])

	b.do(http.MethodGet, b.letter("\xff"+strings.Repeat("x", 400_000)), "", &page)
	assert.True(t, page.Base64 && page.Shortened)
	assert.Len(t, page.Value, (256<<10+2)/3*4)
}
