package console_test

import (
	"encoding/json"
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

// letterList is a page of letters.
type letterList struct {
	Letters []struct {
		Topic, State, Consumer, Error, EventType, Key, Group string
		Partition, Offset                                    int
		Forged                                               bool
	}
	Total, Page, Pages int
	States             map[string]int
	Groups             []struct {
		ID, Consumer, Error, First, Last string
		Count                            int
	}
	Consumers []string
	Actions   []struct{ Action, Actor string }
}

type outcome struct {
	OK     bool
	Detail string
	Count  int
}

type plan struct {
	Total, Possible int
	Outcomes        []outcome
}

// job is an action on letters.
type job struct {
	ID                   int
	Action, Actor, State string
	Error                string
	Total, Handled, Done int
	Results              map[string]int
	Failures             []result
}

// plan returns what would happen to letters at places.
func (b *bench) plan(action, places string) (would plan) {
	b.t.Helper()
	b.do(http.MethodPost, "/console/deadletters", fmt.Sprintf(`{"action":%q,"dryRun":true,"letters":[%s]}`, action, places), &would)
	return would
}

// change changes letters at places, and returns what became of them.
func (b *bench) change(action, places string) job {
	b.t.Helper()
	return b.ended(b.start(fmt.Sprintf(`{"action":%q,"reason":"why not","letters":[%s]}`, action, places)))
}

// start starts a job, and returns its id.
func (b *bench) start(body string) int {
	b.t.Helper()
	status, text := b.do(http.MethodPost, "/console/deadletters", body, nil)
	require.Equal(b.t, http.StatusAccepted, status, text)
	var answer struct{ Job int }
	require.NoError(b.t, json.Unmarshal([]byte(text), &answer))
	return answer.Job
}

// ended waits for the end of a job.
func (b *bench) ended(id int) job {
	b.t.Helper()
	return b.job(id, func(j job) bool { return j.State != "running" && j.State != "stopping" })
}

// job waits until a job is as it shall be.
func (b *bench) job(id int, is func(job) bool) (found job) {
	b.t.Helper()
	watch(b, "letterjobs", func(all struct{ Jobs []job }) bool {
		for _, found = range all.Jobs {
			if found.ID == id {
				return is(found)
			}
		}
		return false
	})
	return found
}

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
	found := watch(b, "deadletters:state=open", func(l letterList) bool { return len(l.Letters) == 3 }).Letters
	place := func(n int) string {
		return fmt.Sprintf(`{"topic":%q,"partition":%d,"offset":%d}`, found[n].Topic, found[n].Partition, found[n].Offset)
	}
	var full struct {
		Headers map[string]string
		Value   string
		OrderID string
	}
	b.do(http.MethodGet, fmt.Sprintf("/console/deadletters/%s/%d/%d", found[0].Topic, found[0].Partition, found[0].Offset), "", &full)
	assert.Equal(t, "notify", full.Headers["ce_consumer"])
	assert.Contains(t, full.Value, `"eventType":"order.confirmed"`)
	assert.Equal(t, found[0].Key, full.OrderID)

	would := b.plan("replay", place(0))
	assert.Equal(t, plan{Total: 1, Possible: 1, Outcomes: []outcome{{true, "would be sent to " + b.url + "/functions/notify", 1}}}, would)
	assert.Len(t, watch(b, "deadletters:state=open", func(letterList) bool { return true }).Letters, 3, "a dry run does nothing")
	assert.Equal(t, 1, b.change("replay", place(0)).Done)
	assert.Equal(t, 1, b.change("park", place(1)).Done)
	assert.Equal(t, plan{Total: 1, Outcomes: []outcome{{false, "it is parked", 1}}}, b.plan("park", place(1)))
	assert.Equal(t, 1, b.change("discard", place(2)).Done)
	again := b.change("replay", place(2))
	assert.Zero(t, again.Done, "what was given up is not replayed")
	assert.Equal(t, map[string]int{"changed": 1}, again.Results)
	assert.Equal(t, "changed: it is discarded now", again.Failures[0].Detail)

	done := watch(b, "deadletters:state=open", func(l letterList) bool { return len(l.Letters) == 0 }).Actions
	require.Len(t, done, 4)
	assert.Equal(t, "DISCARDED", done[0].Action)
	assert.Equal(t, "console at 127.0.0.1", done[0].Actor)
	assert.Len(t, watch(b, "deadletters:state=parked", func(letterList) bool { return true }).Letters, 1)
}

func TestAForgedLetterIsShownAndNotReplayed(t *testing.T) {
	b := newBench(t)
	b.mux.HandleFunc("POST /functions/create-order", func(http.ResponseWriter, *http.Request) { t.Error("it was sent") })
	topic := b.cluster.Prefix + "order.created.dlq"
	b.write(&sarama.ProducerMessage{Topic: topic, Headers: []sarama.RecordHeader{
		{Key: []byte(kafka.HeaderConsumer), Value: []byte("create-order")},
		{Key: []byte(kafka.HeaderTopic), Value: []byte(b.cluster.Prefix + "order.created")},
	}})
	l := watch(b, "deadletters:state=open", func(all letterList) bool { return len(all.Letters) == 1 }).Letters[0]
	assert.True(t, l.Forged)
	assert.Equal(t, "create-order", l.Consumer)

	place := fmt.Sprintf(`{"topic":%q,"partition":%d,"offset":%d}`, topic, l.Partition, l.Offset)
	would := b.plan("replay", place)
	assert.Zero(t, would.Possible)
	assert.Contains(t, would.Outcomes[0].Detail, "no source of the wiring")
	came := b.change("replay", place)
	assert.Equal(t, map[string]int{"forged": 1}, came.Results)
	assert.Contains(t, came.Failures[0].Detail, "no source of the wiring")
	var corrected result
	b.do(http.MethodPost, "/console/deadletters/correct", strings.TrimSuffix(place, "}")+`,"value":"{}"}`, &corrected)
	assert.False(t, corrected.OK)
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

func TestALetterLinksToItsOrderItsTraceAndLettersThatFailedLikeIt(t *testing.T) {
	b := newBench(t)
	other := b.setAside("422: order 1 is malformed")
	fact := events.OrderConfirmed{OrderID: functiontest.OrderID(), CustomerEmail: "alice@example.com", TotalAmount: 1, CreatedAt: time.Now()}
	e := functiontest.Event(t, fact, 2)
	e.SetExtension("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	b.setAsideEvent(e, "422: order 2 is malformed")
	b.setAside("503: late")
	l := watch(b, "deadletters:key="+fact.OrderID, func(l letterList) bool { return l.Total == 1 }).Letters[0]
	var page struct {
		OrderID, TraceID, TraceURL string
		Alike                      []struct{ Key string }
	}

	b.do(http.MethodGet, fmt.Sprintf("/console/deadletters/%s/%d/%d", l.Topic, l.Partition, l.Offset), "", &page)

	assert.Equal(t, fact.OrderID, page.OrderID)
	assert.Equal(t, "0af7651916cd43dd8448eb211c80319c", page.TraceID)
	assert.Equal(t, "http://traces.example/trace/0af7651916cd43dd8448eb211c80319c", page.TraceURL)
	require.Len(t, page.Alike, 1)
	assert.Equal(t, other, page.Alike[0].Key)
}
