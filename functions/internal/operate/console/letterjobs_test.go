package console_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/operate/console"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/porttest"
	"example.com/orders/knative"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/schema"
)

// setAside writes a dead letter of notify about an order, and returns the order's id.
func (b *bench) setAside(reason string) string {
	b.t.Helper()
	fact := events.OrderConfirmed{OrderID: functiontest.OrderID(), CustomerEmail: "alice@example.com", TotalAmount: 1, CreatedAt: time.Now()}
	b.setAsideEvent(functiontest.Event(b.t, fact, 2), reason)
	return fact.OrderID
}

// setAsideEvent writes a dead letter of notify, a millisecond younger than the one before: records have their times in
// milliseconds, and the order of those of one millisecond is that of their partitions.
func (b *bench) setAsideEvent(e event.Event, reason string) {
	b.t.Helper()
	m := record(b.t, b.cluster.Prefix+"order.confirmed.dlq", e,
		sarama.RecordHeader{Key: []byte(kafka.HeaderConsumer), Value: []byte("notify")},
		sarama.RecordHeader{Key: []byte(kafka.HeaderTopic), Value: []byte(b.cluster.Prefix + "order.confirmed")},
		sarama.RecordHeader{Key: []byte(kafka.HeaderAttempts), Value: []byte("11")},
		sarama.RecordHeader{Key: []byte(kafka.HeaderStatus), Value: []byte("503")},
		sarama.RecordHeader{Key: []byte(kafka.HeaderError), Value: []byte(reason)})
	m.Timestamp = time.Now()
	if youngest := b.youngest.Add(time.Millisecond); m.Timestamp.Before(youngest) {
		m.Timestamp = youngest
	}
	b.youngest = m.Timestamp
	b.write(m)
}

// answer makes notify answer so from now on.
func (b *bench) answer(so func(http.ResponseWriter)) {
	handle := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { so(w) })
	b.notify.Store(&handle)
}

func TestNoLettersAreEmptyLists(t *testing.T) {
	b := newBench(t)
	_, text := b.do(http.MethodGet, "/console/deadletters/"+b.cluster.Prefix+"order.created.dlq/0/0", "", nil)
	assert.Contains(t, text, "no such letter")
	watch(b, "deadletters:", func(l map[string]any) bool {
		for _, list := range []string{"letters", "groups", "consumers", "actions"} {
			assert.IsType(t, []any{}, l[list], list)
		}
		return true
	})
}

func TestLettersAreGroupedFilteredAndPaged(t *testing.T) {
	b := newBench(t)
	for n := range 55 {
		b.setAside(fmt.Sprintf("503: order %d of shop %d is late", n, n*n))
	}
	key := b.setAside("422: malformed")

	all := watch(b, "deadletters:state=open", func(l letterList) bool { return l.Total == 56 })

	assert.Len(t, all.Letters, 50)
	assert.Equal(t, 2, all.Pages)
	require.Len(t, all.Groups, 2)
	assert.Equal(t, 55, all.Groups[0].Count)
	assert.Equal(t, "503: order … of shop … is late", all.Groups[0].Error)
	assert.LessOrEqual(t, all.Groups[0].First, all.Groups[0].Last)
	assert.Equal(t, all.Groups[1].ID, all.Letters[0].Group)
	view := func(parameters string) letterList {
		return watch(b, url.QueryEscape("deadletters:"+parameters), func(letterList) bool { return true })
	}
	assert.Len(t, view("state=open&page=2").Letters, 6)
	assert.Empty(t, view("page=99").Letters)
	assert.Equal(t, 1, view("group="+all.Groups[1].ID).Total)
	assert.Equal(t, 1, view("key="+key).Total)
	assert.Equal(t, 56, view("function=notify").Total)
	assert.Zero(t, view("function=reserve-stock").Total)
	assert.Equal(t, map[string]int{"open": 55}, view("state=parked&group="+all.Groups[0].ID).States, "what the other states have")
	assert.Equal(t, 56, watch(b, "openletters", func(struct{ Open int }) bool { return true }).Open)
}

func TestAnActionOnAllThatMatchShowsItsProgressAndItsFailures(t *testing.T) {
	b := newBench(t)
	for range 3 {
		b.setAside("503: late")
	}
	refused := b.setAside("422: malformed")
	group := ""
	watch(b, "deadletters:state=open", func(l letterList) bool {
		for _, g := range l.Groups {
			if g.Count == 3 {
				group = g.ID
			}
		}
		return l.Total == 4
	})
	filter := "state=open&group=" + group
	var would plan
	b.do(http.MethodPost, "/console/deadletters", fmt.Sprintf(`{"action":"replay","dryRun":true,"filter":%q}`, filter), &would)
	assert.Equal(t, 3, would.Possible)

	came := b.ended(b.start(fmt.Sprintf(`{"action":"replay","actor":"carol","filter":%q}`, filter)))

	assert.Equal(t, job{ID: came.ID, Action: "replay", Actor: "carol (console at 127.0.0.1)", State: "done", Total: 3, Handled: 3, Done: 3, Results: map[string]int{}, Failures: []result{}}, came)
	left := watch(b, "deadletters:state=open", func(l letterList) bool { return l.Total == 1 })
	assert.Equal(t, refused, left.Letters[0].Key)
}

// TestAJobGoesOnWithoutItsPageAndCanBeStopped has a function that does not answer: nobody watches the job meanwhile.
func TestAJobGoesOnWithoutItsPageAndCanBeStopped(t *testing.T) {
	b := newBench(t)
	entered, release := make(chan struct{}, 100), make(chan struct{})
	free := sync.OnceFunc(func() { close(release) })
	t.Cleanup(free)
	b.answer(func(http.ResponseWriter) { entered <- struct{}{}; <-release })
	for range 40 { // more than are delivered at the same time
		b.setAside("503: late")
	}
	watch(b, "deadletters:state=open", func(l letterList) bool { return l.Total == 40 })
	id := b.start(`{"action":"replay","filter":"state=open"}`)
	for range 32 {
		<-entered
	}
	running := b.job(id, func(job) bool { return true })
	assert.Equal(t, "running", running.State)
	assert.Equal(t, 40, running.Total)

	var stopping job
	b.do(http.MethodPost, fmt.Sprintf("/console/deadletters/jobs/%d/stop", id), "{}", &stopping)
	assert.Equal(t, "stopping", stopping.State)
	free()

	came := b.ended(id)
	assert.Equal(t, "stopped", came.State)
	assert.Equal(t, 32, came.Done, "what was under way ended")
	assert.Equal(t, 32, came.Handled)
	assert.Equal(t, 8, watch(b, "deadletters:state=open", func(l letterList) bool { return l.Total == 8 }).Total)
}

func TestAJobStopsWhenTheServerShutsDown(t *testing.T) {
	b := newBench(t)
	entered, release := make(chan struct{}, 100), make(chan struct{})
	b.answer(func(http.ResponseWriter) { entered <- struct{}{}; <-release })
	for range 33 {
		b.setAside("503: late")
	}
	watch(b, "deadletters:state=open", func(l letterList) bool { return l.Total == 33 })
	b.start(`{"action":"replay","filter":"state=open"}`)
	for range 32 {
		<-entered
	}

	b.console.EndStreams()
	close(release)
	require.NoError(t, b.console.Close(t.Context()))

	assert.Empty(t, entered, "nothing else was sent")
	status, text := b.do(http.MethodPost, "/console/deadletters", `{"action":"replay","filter":"state=open"}`, nil)
	assert.Equal(t, http.StatusServiceUnavailable, status, text)
	assert.Equal(t, 64, mysqltest.Count(t, b.pool(schema.Operations), "SELECT COUNT(*) FROM dead_letter_actions"), "what was under way is recorded")
}

func TestAFailedJobSaysWhy(t *testing.T) {
	b := newBench(t)
	b.setAside("503: late")
	watch(b, "deadletters:state=open", func(l letterList) bool { return l.Total == 1 })
	b.answer(func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) })

	came := b.ended(b.start(`{"action":"replay","filter":"state=open"}`))

	assert.Equal(t, "failed", came.State)
	assert.Contains(t, came.Error, "cannot be reached")
	assert.Zero(t, came.Handled)
}

func TestJobsAreBounded(t *testing.T) {
	b := newBench(t)
	entered, release := make(chan struct{}, 100), make(chan struct{})
	b.answer(func(http.ResponseWriter) { entered <- struct{}{}; <-release })
	b.setAside("503: late")
	watch(b, "deadletters:state=open", func(l letterList) bool { return l.Total == 1 })
	first := b.start(`{"action":"replay","filter":"state=open"}`)
	<-entered
	b.setAside("503: late")
	second := b.start(`{"action":"replay","filter":"state=open"}`)
	<-entered

	status, text := b.do(http.MethodPost, "/console/deadletters", `{"action":"park","filter":"state=open"}`, nil)

	assert.Equal(t, http.StatusTooManyRequests, status, text)
	close(release)
	assert.Equal(t, 1, b.ended(first).Done)
	came := b.ended(second)
	assert.Equal(t, map[string]int{"busy": 1}, came.Results, "the first one is working on that key")
	assert.Equal(t, 1, came.Done)
}

func TestALetterIsCorrectedAndReplayed(t *testing.T) {
	b := newBench(t)
	b.setAside("422: malformed")
	l := watch(b, "deadletters:state=open", func(l letterList) bool { return l.Total == 1 }).Letters[0]
	at := fmt.Sprintf("%s/%d/%d", l.Topic, l.Partition, l.Offset)
	var full struct {
		Value       string
		Corrections []struct{ Original, Corrected, Actor, Reason string }
	}
	b.do(http.MethodGet, "/console/deadletters/"+at, "", &full)
	correct := func(value string, dry bool) (came result) {
		body, err := json.Marshal(map[string]any{
			"topic": l.Topic, "partition": l.Partition, "offset": l.Offset, "value": value, "dryRun": dry, "reason": "a typo", "actor": "carol",
		})
		require.NoError(t, err)
		b.do(http.MethodPost, "/console/deadletters/correct", string(body), &came)
		return came
	}
	wrong := correct(`{"orderId":1}`, false)
	assert.False(t, wrong.OK)
	assert.Contains(t, wrong.Detail, "orderId")
	fixed := full.Value[:len(full.Value)-1] + " }"
	assert.True(t, correct(fixed, true).OK)

	assert.Equal(t, result{at, true, "done: notify answered 200"}, correct(fixed, false))

	before := full.Value
	b.do(http.MethodGet, "/console/deadletters/"+at, "", &full)
	require.Len(t, full.Corrections, 1)
	assert.Equal(t, before, full.Corrections[0].Original)
	assert.Equal(t, fixed, full.Corrections[0].Corrected)
	assert.Equal(t, "carol (console at 127.0.0.1)", full.Corrections[0].Actor)
	assert.Equal(t, 1, watch(b, "deadletters:state=replayed", func(l letterList) bool { return l.Total == 1 }).Total)
}

// TestAnOrderSaysWhatBecameOfAnEventThatWasSetAside follows a delivery from its dead letter to its replay.
func TestAnOrderSaysWhatBecameOfAnEventThatWasSetAside(t *testing.T) {
	b := newBench(t)
	id := functiontest.OrderID()
	functiontest.Order(t, b.pool(schema.Orders), id, orders.OrdersStatusCONFIRMED)
	confirmed := functiontest.Event(t, events.OrderConfirmed{OrderID: id, CustomerEmail: "alice@example.com", TotalAmount: 1, CreatedAt: time.Now()}, 2)
	b.store(schema.Orders, confirmed)
	type delivery struct {
		Function string
		SetAside *struct {
			Letter, State, Error, ReplayedAt, By string
			Status, Attempts                     int
			Corrected                            bool
		}
	}
	type page struct {
		Steps          []struct{ Deliveries []delivery }
		LettersUnknown bool
	}
	notified := func(p page) delivery {
		for _, d := range p.Steps[0].Deliveries {
			if d.Function == "notify" {
				return d
			}
		}
		return delivery{}
	}
	before := watch(b, "order:"+id, func(p page) bool { return len(p.Steps) == 1 })
	assert.Nil(t, notified(before).SetAside)
	assert.False(t, before.LettersUnknown)
	b.setAsideEvent(confirmed, "503: the mail server is away")

	aside := notified(watch(b, "order:"+id, func(p page) bool { return notified(p).SetAside != nil })).SetAside
	assert.Equal(t, []any{"open", "503: the mail server is away", 503, 11}, []any{aside.State, aside.Error, aside.Status, aside.Attempts})
	l := watch(b, "deadletters:key="+id, func(l letterList) bool { return l.Total == 1 }).Letters[0]
	assert.Equal(t, fmt.Sprintf("%s/%d/%d", l.Topic, l.Partition, l.Offset), aside.Letter)

	b.ended(b.start(`{"action":"replay","actor":"carol","filter":"key=` + id + `"}`))

	aside = notified(watch(b, "order:"+id, func(p page) bool { return notified(p).SetAside.State == "replayed" })).SetAside
	assert.NotEmpty(t, aside.ReplayedAt)
	assert.Equal(t, "carol (console at 127.0.0.1)", aside.By)
	assert.False(t, aside.Corrected)
}

// TestAnOrderIsShownWhileItsLettersCannotBeRead has a console whose brokers do not exist.
func TestAnOrderIsShownWhileItsLettersCannotBeRead(t *testing.T) {
	b := newBench(t)
	id := functiontest.OrderID()
	functiontest.Order(t, b.pool(schema.Orders), id, orders.OrdersStatusCONFIRMED)
	b.store(schema.Orders, functiontest.Event(t, events.OrderConfirmed{OrderID: id, CustomerEmail: "alice@example.com", TotalAmount: 1, CreatedAt: time.Now()}, 2))
	wiring, err := knative.Load(knative.Base())
	require.NoError(t, err)
	away, err := console.New(console.Options{
		Wiring: wiring, Brokers: []string{porttest.Address(t)}, Open: func(name string) (*sql.DB, error) { return b.pool(name), nil },
		Audit: b.report.Load, Metrics: b.metrics, Log: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	mux := http.NewServeMux()
	away.Register(mux)
	b.url = functiontest.Serve(t, mux.ServeHTTP)
	t.Cleanup(func() { assert.NoError(t, away.Close(context.Background())) })

	page := watch(b, "order:"+id, func(p struct {
		Steps          []any
		LettersUnknown bool
	}) bool {
		return len(p.Steps) == 1
	})

	assert.True(t, page.LettersUnknown)
}
