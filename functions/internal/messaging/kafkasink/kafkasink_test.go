package kafkasink_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/messaging/kafkasink"
	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/functions/internal/testkit/knativetest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/functions/internal/testkit/porttest"
	"example.com/orders/knative"
	"example.com/orders/sql/schema"
)

// The environment's proxy leads nowhere. Clients that respect it skip it only for loopback addresses, and 0.0.0.0, which
// also reaches a local listener, is not one.
func init() {
	if err := os.Setenv("HTTP_PROXY", "http://127.0.0.1:1"); err != nil {
		panic(err)
	}
}

func newPublisher(t *testing.T, template string) *kafkasink.Publisher {
	t.Helper()
	p, err := kafkasink.New(template, "")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.Close()) })
	return p
}

// confirmed returns facts about new orders.
func confirmed(t *testing.T, n int) (batch []event.Event) {
	t.Helper()
	for range n {
		batch = append(batch, functiontest.Event(t, events.OrderConfirmed{OrderID: functiontest.OrderID(), CustomerEmail: "alice@example.com", CreatedAt: time.Now()}, 2))
	}
	return batch
}

// sinks serves KafkaSinks in front of the topic order.confirmed of a broker.
func sinks(t *testing.T) (s *knativetest.Sink, template string, c kafkatest.Cluster, topic string) {
	t.Helper()
	c = kafkatest.Start(t)
	topic = c.Prefix + events.OrderConfirmedType
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, kafka.EnsureTopics(ctx, c.Brokers, []knative.Topic{{Name: topic, Partitions: 3, Replicas: 1}}))
	s = knativetest.StartSink(t, c.Brokers, map[string]string{events.OrderConfirmedType: topic, "lost": c.Prefix + "lost"})
	return s, s.URL + "/orders/{topic}", c, topic
}

func TestEventsAreStoredAsByTheProducer(t *testing.T) {
	_, template, c, topic := sinks(t)
	batch := confirmed(t, 100)

	for _, o := range newPublisher(t, template).Publish(t.Context(), batch) {
		assert.Equal(t, outbox.Outcome{Partition: -1, Offset: -1}, o, "a KafkaSink does not return them")
	}
	direct := kafka.NewProducer(c.Brokers, c.Prefix, nil)
	t.Cleanup(func() { assert.NoError(t, direct.Close()) })
	for _, o := range direct.Publish(t.Context(), batch) {
		require.NoError(t, o.Err)
	}

	type record struct {
		partition  int32
		key, value string
		headers    []string
	}
	seen := map[string][]record{}
	for _, r := range c.Records(t, topic, 2*len(batch)) {
		one := record{partition: r.Partition, key: string(r.Key), value: string(r.Value)}
		for _, h := range r.Headers {
			one.headers = append(one.headers, string(h.Key)+"="+string(h.Value))
		}
		slices.Sort(one.headers)
		seen[one.key] = append(seen[one.key], one)
	}
	require.Len(t, seen, len(batch))
	for key, twice := range seen {
		require.Len(t, twice, 2, key)
		assert.Equal(t, twice[0], twice[1], "whichever way it came")
	}
}

func TestEventsArePublishedPastTheProxy(t *testing.T) {
	url := functiontest.Serve(t, func(http.ResponseWriter, *http.Request) {})
	p := newPublisher(t, strings.Replace(url, "127.0.0.1", "0.0.0.0", 1)+"/orders/{topic}")
	assert.NoError(t, p.Publish(t.Context(), confirmed(t, 1))[0].Err)
}

// TestEachKafkaSinkGetsItsOwnToken checks that a token is read once it is there, and that an event waits until then.
func TestEachKafkaSinkGetsItsOwnToken(t *testing.T) {
	got := make(chan string, 1)
	url := functiontest.Serve(t, func(_ http.ResponseWriter, r *http.Request) { got <- r.Header.Get("Authorization") })
	folder := t.TempDir()
	p, err := kafkasink.New(url+"/orders/{topic}", filepath.Join(folder, "{topic}"))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.Close()) })
	require.ErrorContains(t, p.Publish(t.Context(), confirmed(t, 1))[0].Err, "read the token for the KafkaSink of order.confirmed")

	require.NoError(t, os.WriteFile(filepath.Join(folder, "order.confirmed"), []byte("the-token-for-order-confirmed"), 0o600))
	require.NoError(t, p.Publish(t.Context(), confirmed(t, 1))[0].Err)
	assert.Equal(t, "Bearer the-token-for-order-confirmed", <-got)
}

func TestAttributesAreEncodedForTheirHeaders(t *testing.T) {
	headers := make(chan http.Header, 1)
	url := functiontest.Serve(t, func(_ http.ResponseWriter, r *http.Request) { headers <- r.Header })
	e := confirmed(t, 1)[0]
	e.SetExtension("correlationid", `100% "sure"`)

	assert.NoError(t, newPublisher(t, url+"/orders/{topic}").Publish(t.Context(), []event.Event{e})[0].Err)

	assert.Equal(t, "100%25%20%22sure%22", (<-headers).Get("Ce-Correlationid"))
}

func TestTheAnswerDecidesTheFateOfAnEvent(t *testing.T) {
	status := http.StatusAccepted
	url := functiontest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		if status == http.StatusFound {
			w.Header().Set("Location", "/")
		}
		w.WriteHeader(status)
		if r.Method != http.MethodPost {
			t.Errorf("a redirect was followed")
		}
	})
	p := newPublisher(t, url+"/orders/{topic}")
	for code, want := range map[int]error{
		http.StatusOK: nil, http.StatusAccepted: nil, http.StatusNoContent: nil,
		http.StatusBadRequest: outbox.ErrRefused, http.StatusRequestEntityTooLarge: outbox.ErrTooLarge,
		http.StatusNotFound: errUnknown, http.StatusFound: errUnknown, http.StatusForbidden: errUnknown, http.StatusTooManyRequests: errUnknown,
		http.StatusInternalServerError: errUnknown, http.StatusServiceUnavailable: errUnknown,
	} {
		status = code
		assertOutcome(t, want, p.Publish(t.Context(), confirmed(t, 1))[0].Err, code)
	}
}

// errUnknown stands for an error after which an event is sent again.
var errUnknown = fmt.Errorf("unknown")

func assertOutcome(t *testing.T, want, got error, about any) {
	t.Helper()
	if want == nil {
		assert.NoError(t, got, about)
		return
	}
	assert.Error(t, got, about)
	for _, refusal := range []error{outbox.ErrRefused, outbox.ErrTooLarge} {
		if want == refusal { //nolint:errorlint // which sentinel is expected
			assert.ErrorIs(t, got, refusal, about)
		} else {
			assert.NotErrorIs(t, got, refusal, about)
		}
	}
}

func TestLargeAndInvalidEventsAreRefusedBeforeTheyAreSent(t *testing.T) {
	s, template, _, _ := sinks(t)
	batch := confirmed(t, 2)
	batch[0].DataEncoded = []byte(strings.Repeat("x", 2<<20))
	batch[1].SetSource("")

	outcomes := newPublisher(t, template).Publish(t.Context(), batch)

	assertOutcome(t, outbox.ErrTooLarge, outcomes[0].Err, "2 MiB")
	assertOutcome(t, outbox.ErrRefused, outcomes[1].Err, "no source")
	assert.Zero(t, s.Posts())
}

func TestATopicOrASinkThatIsMissingIsNotTheEventsFault(t *testing.T) {
	_, template, _, _ := sinks(t)
	for _, eventType := range []string{"topic.missing", "lost"} {
		e := confirmed(t, 1)[0]
		e.SetType(eventType)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		assertOutcome(t, errUnknown, newPublisher(t, template).Publish(ctx, []event.Event{e})[0].Err, eventType)
		cancel()
	}
	assertOutcome(t, errUnknown, newPublisher(t, "http://"+porttest.Address(t)+"/{topic}").Publish(t.Context(), confirmed(t, 1))[0].Err, "no listener")
}

func TestEventsAreUnderWayAtOnceWithinABound(t *testing.T) {
	const bound = 64
	var running, most atomic.Int64
	full, fill := context.WithCancel(t.Context())
	url := functiontest.Serve(t, func(http.ResponseWriter, *http.Request) {
		n := running.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		if n == bound { // which may be repeated
			fill()
		}
		<-full.Done()
		running.Add(-1)
	})
	for _, o := range newPublisher(t, url+"/{topic}").Publish(t.Context(), confirmed(t, 2*bound)) {
		assert.NoError(t, o.Err)
	}
	assert.EqualValues(t, bound, most.Load())
}

// relay returns a relay of a new outbox, with two facts of each of so many orders.
func relay(t *testing.T, p outbox.Publisher, orders int) (outbox.Relay, []event.Event) {
	t.Helper()
	db := mysqltest.Open(t, schema.Orders)
	var stored []event.Event
	for _, first := range confirmed(t, orders) {
		second := first.Clone()
		second.SetID(first.Subject() + "#3")
		stored = append(stored, first, second)
	}
	outboxtest.Store(t, db, time.Now(), stored...)
	return outbox.Relay{DB: db, Publisher: p, Now: time.Now}, stored
}

func TestARelayHasOneEventOfAnOrderUnderWay(t *testing.T) {
	s, template, c, topic := sinks(t)
	var mu sync.Mutex
	underWay, overlaps := map[string]int{}, 0
	r, stored := relay(t, newPublisher(t, template), 20)
	s.Around = func(w http.ResponseWriter, request *http.Request, answer http.HandlerFunc) {
		count := func(n int) {
			mu.Lock()
			defer mu.Unlock()
			subject := request.Header.Get("Ce-Subject")
			underWay[subject] += n
			if underWay[subject] > 1 {
				overlaps++
			}
		}
		count(1)
		answer(w, request)
		count(-1) // all answered events are sent when this returns
	}

	sent, err := r.Sweep(t.Context())

	require.NoError(t, err)
	assert.Equal(t, len(stored), sent)
	assert.Zero(t, overlaps)
	last := map[string]string{}
	for _, record := range c.Records(t, topic, len(stored)) {
		for _, h := range record.Headers {
			if string(h.Key) == "ce_id" {
				assert.Less(t, last[string(record.Key)], string(h.Value), "in the order of the facts")
				last[string(record.Key)] = string(h.Value)
			}
		}
	}
	assert.Equal(t, len(stored), mysqltest.Count(t, r.DB, "SELECT COUNT(*) FROM outbox WHERE status = 'SENT' AND kafka_offset = -1"))
}

// hasty gives up on a KafkaSink once the KafkaSink has an event.
type hasty struct {
	outbox.Publisher
	reached <-chan struct{}
}

func (h hasty) Publish(ctx context.Context, batch []event.Event) []outbox.Outcome {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-h.reached:
			cancel()
		case <-ctx.Done():
		}
	}()
	return h.Publisher.Publish(ctx, batch)
}

// TestGivingUpIsAnUnknownOutcome checks that an event whose request was abandoned is still written, is sent again, and costs
// no attempt.
func TestGivingUpIsAnUnknownOutcome(t *testing.T) {
	s, template, c, topic := sinks(t)
	reached, letGo := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s.Around = func(w http.ResponseWriter, request *http.Request, answer http.HandlerFunc) {
		once.Do(func() { close(reached); <-letGo })
		answer(w, request)
	}
	r, stored := relay(t, hasty{newPublisher(t, template), reached}, 1)

	sent, err := r.Sweep(t.Context())

	assert.ErrorIs(t, err, context.Canceled)
	assert.Zero(t, sent)
	assert.Equal(t, 2, mysqltest.Count(t, r.DB, "SELECT COUNT(*) FROM outbox WHERE status = 'NEW' AND attempts = 0"))
	close(letGo)
	r.Publisher = newPublisher(t, template)
	sent, err = r.Sweep(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 2, sent)
	ids := map[string]int{}
	for _, record := range c.Records(t, topic, 3) {
		for _, h := range record.Headers {
			if string(h.Key) == "ce_id" {
				ids[string(h.Value)]++
			}
		}
	}
	assert.Equal(t, map[string]int{stored[0].ID(): 2, stored[1].ID(): 1}, ids)
}

func TestAnAddressWithoutTopicIsRefused(t *testing.T) {
	for name, template := range map[string]string{
		"no topic": "http://sinks/orders", "no scheme": "sinks/{topic}", "no host": "http:///{topic}", "another scheme": "kafka://sinks/{topic}",
	} {
		_, err := kafkasink.New(template, "")
		assert.ErrorContains(t, err, "is not a URL with {topic} in it", name)
	}
}
