package contract

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/function/host"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/functions/internal/testkit/knativetest"
	"example.com/orders/knative"
)

// patience bounds every wait for a fact.
const patience = 40 * time.Second

// attempt is one delivery to the function under test.
type attempt struct {
	event event.Event
	at    time.Time
	n     int // the number of the attempt for this event, from 1
}

// function is the function under test: it records its deliveries and answers with handle; nil handles every event.
type function struct {
	handle func(ctx context.Context, a attempt) error
	// ready is called by sources that support it; nil means always ready.
	ready func() bool

	mu       sync.Mutex
	changed  chan struct{}
	attempts []attempt
	handled  []string
	running  map[string]int
	most     int // the most concurrent attempts of one event
}

func newFunction(handle func(ctx context.Context, a attempt) error) *function {
	return &function{handle: handle, changed: make(chan struct{}), running: map[string]int{}}
}

// Handle is called by func's runtime.
func (f *function) Handle(ctx context.Context, e event.Event) (err error) {
	id := e.ID()
	f.mu.Lock()
	a := attempt{event: e.Clone(), at: time.Now(), n: 1}
	for _, before := range f.attempts {
		if before.event.ID() == id {
			a.n++
		}
	}
	f.attempts = append(f.attempts, a)
	f.running[id]++
	f.most = max(f.most, f.running[id])
	f.change()
	f.mu.Unlock()
	returned := false
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.running[id]--
		if returned && err == nil {
			f.handled = append(f.handled, id)
		}
		f.change()
	}()
	if f.handle != nil {
		err = f.handle(ctx, a)
	}
	returned = true
	return err
}

func (f *function) change() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// await waits until fact holds; it is called with the mutex held.
func (f *function) await(t *testing.T, what string, fact func() bool) {
	t.Helper()
	timeout := time.After(patience)
	for {
		f.mu.Lock()
		holds, changed := fact(), f.changed
		f.mu.Unlock()
		if holds {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			require.Fail(t, "did not happen: "+what)
		}
	}
}

// awaitHandled waits until n deliveries were handled, and returns the ids in the order of handling.
func (f *function) awaitHandled(t *testing.T, n int) (ids []string) {
	t.Helper()
	f.await(t, "enough is handled", func() bool { ids = f.handled; return len(f.handled) >= n })
	return ids
}

// awaitAttempts waits for n deliveries and returns them.
func (f *function) awaitAttempts(t *testing.T, n int) (all []attempt) {
	t.Helper()
	f.await(t, "enough is delivered", func() bool { all = f.attempts; return len(f.attempts) >= n })
	return all
}

// bench is a topic with one partition, its dead-letter topic, and the configuration of a source.
type bench struct {
	kafkatest.Cluster
	topic string
	spec  knative.KafkaSource
}

func newBench(t *testing.T, c kafkatest.Cluster) *bench {
	t.Helper()
	topic := c.Prefix + "order.created"
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, kafka.EnsureTopics(ctx, c.Brokers, []knative.Topic{
		{Name: topic, Partitions: 1, Replicas: 1}, {Name: topic + ".dlq", Partitions: 1, Replicas: 1},
	}))
	return &bench{c, topic, knative.KafkaSource{
		Name: "reserve-stock.order.created", Namespace: "orders", Group: c.Prefix + "reserve-stock.order.created", Topic: topic,
		Consumers: 4, Sink: "reserve-stock", Extensions: map[string]string{"consumer": "reserve-stock"},
		Delivery: knative.Delivery{Retry: 2, Exponential: true, Delay: 5 * time.Millisecond, Timeout: patience, DeadLetter: topic + ".dlq"},
	}}
}

// send appends records to the topic, in order.
func (b *bench) send(t *testing.T, records ...*sarama.ProducerMessage) {
	t.Helper()
	config := sarama.NewConfig()
	config.Version = sarama.V3_6_0_0
	config.Producer.Return.Successes = true
	producer, err := sarama.NewSyncProducer(b.Brokers, config)
	require.NoError(t, err)
	for _, record := range records {
		record.Topic = b.topic
		_, _, err := producer.SendMessage(record)
		require.NoError(t, err)
	}
	require.NoError(t, producer.Close())
}

// fact is the record of a CloudEvent with an id about an order.
func fact(id, order string) *sarama.ProducerMessage {
	return record(order, `{"orderId":"`+order+`"}`, "ce_specversion", "1.0", "ce_id", id, "ce_type", "order.created", "ce_source", "/orders",
		"ce_subject", order, "ce_partitionkey", order, "content-type", "application/json")
}

// record returns a record with a key, unless it is "", a value, and headers, each as name and text.
func record(key, value string, headers ...string) *sarama.ProducerMessage {
	m := &sarama.ProducerMessage{Value: sarama.StringEncoder(value)}
	if key != "" {
		m.Key = sarama.StringEncoder(key)
	}
	for i := 0; i < len(headers); i += 2 {
		m.Headers = append(m.Headers, sarama.RecordHeader{Key: []byte(headers[i]), Value: []byte(headers[i+1])})
	}
	return m
}

// source delivers records to functions.
type source struct {
	// start delivers until stop, which ends it like a kill: attempts in flight are abandoned.
	start func(t *testing.T, b *bench, f *function) (stop func())
	// stronger is whether it gives guarantees beyond the contract.
	stronger bool
}

var sources = map[string]source{
	"the local source":              {start: startLocal, stronger: true},
	"the local source with batches": {start: startBatched, stronger: true},
	"a KafkaSource of Knative's":    {start: startKnative},
}

// onEach runs a test against each source, on its own cluster and topic.
func onEach(t *testing.T, test func(t *testing.T, s source, b *bench)) {
	t.Helper()
	for name, s := range sources {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, s, newBench(t, kafkatest.Start(t)))
		})
	}
}

func startLocal(t *testing.T, b *bench, f *function) func() {
	t.Helper()
	return runLocal(t, b, f, nil)
}

// startBatched starts a source whose function handles first attempts in batches.
func startBatched(t *testing.T, b *bench, f *function) func() {
	t.Helper()
	return runLocal(t, b, f, functiontest.Batched(64, func(ctx context.Context, es []event.Event) []error {
		answers := make([]error, len(es))
		var all sync.WaitGroup
		for i, e := range es {
			all.Go(func() {
				defer func() {
					if recover() != nil {
						answers[i] = errRetry
					}
				}()
				ctx, cancel := context.WithTimeout(ctx, b.spec.Delivery.Timeout)
				defer cancel()
				answers[i] = f.Handle(ctx, e)
			})
		}
		all.Wait()
		return answers
	}))
}

func runLocal(t *testing.T, b *bench, f *function, submit func(context.Context, func(int, error), ...event.Event)) func() {
	t.Helper()
	letters := kafka.NewProducer(b.Brokers, "", slog.New(slog.DiscardHandler))
	local := kafka.NewSource(kafka.SourceOptions{
		Brokers: b.Brokers, Spec: b.spec, Deliver: f.Handle, Submit: submit, DeadLetters: letters, Log: slog.New(slog.DiscardHandler),
		Ready: func(context.Context) bool { return f.ready == nil || f.ready() },
	})
	return background(t, func(ctx context.Context) error {
		local.Run(ctx)
		return letters.Close()
	})
}

func startKnative(t *testing.T, b *bench, f *function) func() {
	t.Helper()
	handler, err := host.Handler(f)
	require.NoError(t, err)
	sink := knativetest.StartSink(t, b.Brokers, map[string]string{"order.created.dlq": b.spec.Delivery.DeadLetter})
	s := knativetest.Source{
		Brokers: b.Brokers, Spec: b.spec, CommitEvery: 50 * time.Millisecond,
		URL: functiontest.Serve(t, handler.ServeHTTP), DeadLetterURL: sink.URL + "/orders/order.created.dlq",
	}
	return background(t, s.Run)
}

// background runs a func until it is stopped, at the latest at the end of the test.
func background(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() { assert.NoError(t, run(ctx)) })
	stop = func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(stop)
	return stop
}

// status returns a function's answer with an HTTP status.
func status(code int) error { return cehttp.NewResult(code, "on purpose") }

var errRetry = status(http.StatusServiceUnavailable)
