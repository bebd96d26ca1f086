package deadletter_test

import (
	"context"
	"database/sql"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/operate/deadletter"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/knative"
	"example.com/orders/sql/operations"
	"example.com/orders/sql/schema"
)

// bench is a box with its own topics and journal.
type bench struct {
	deadletter.Box

	Journal *deadletter.Journal

	topic    string // order.created, with a prefix
	server   schema.Server
	db       *sql.DB
	producer *kafka.Producer
	reads    *counting
}

// counting is a reader that counts its reads of partitions.
type counting struct {
	deadletter.Reader

	reads atomic.Int32
}

func (c *counting) Read(ctx context.Context, span kafka.Span, visit func(*sarama.ConsumerMessage) error) error {
	c.reads.Add(1)
	return c.Reader.Read(ctx, span, visit)
}

func newBench(t *testing.T) *bench {
	t.Helper()
	c := kafkatest.Start(t)
	b := &bench{topic: c.Prefix + "order.created", server: mysqltest.Server(t)}
	b.db = mysqltest.Pool(t, b.server, schema.Operations)
	b.producer = kafka.NewProducer(c.Brokers, "", slog.New(slog.DiscardHandler))
	t.Cleanup(func() { assert.NoError(t, b.producer.Close()) })
	for _, topic := range []string{"order.created", "order.canceled"} {
		require.NoError(t, kafka.EnsureTopics(t.Context(), c.Brokers, []knative.Topic{{Name: c.Prefix + topic + ".dlq", Partitions: 1, Replicas: 1}}))
	}
	for _, wired := range [][2]string{{"order.created", "reserve-stock"}, {"order.created", "notify"}, {"order.canceled", "release-stock"}} {
		topic, consumer := wired[0], wired[1]
		b.Sources = append(b.Sources, knative.KafkaSource{
			Name: consumer + "." + topic, Namespace: "shop", Topic: c.Prefix + topic, Sink: consumer,
			Extensions: map[string]string{"consumer": consumer}, Delivery: knative.Delivery{DeadLetter: c.Prefix + topic + ".dlq"},
		})
	}
	reader, err := kafka.NewReader(c.Brokers, nil)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, reader.Close()) })
	b.reads = &counting{Reader: reader}
	b.Reader, b.Operations = b.reads, b.db
	b.Journal = b.journal(t, "alice@laptop")
	return b
}

// journal opens another operator's journal.
func (b *bench) journal(t *testing.T, actor string) *deadletter.Journal {
	t.Helper()
	j, err := deadletter.OpenJournal(t.Context(), b.db, actor)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, j.Close()) })
	return j
}

func header(key, value string) sarama.RecordHeader {
	return sarama.RecordHeader{Key: []byte(key), Value: []byte(value)}
}

// put writes letters to a topic's dead-letter topic.
func (b *bench) put(t *testing.T, letters ...*sarama.ProducerMessage) {
	t.Helper()
	for _, letter := range letters {
		require.Equal(t, []error{nil}, b.producer.Write(t.Context(), []*sarama.ProducerMessage{letter}))
	}
}

// attributes returns the headers of the n-th fact of an order in the topic.
func attributes(order string, n int) []sarama.RecordHeader {
	return []sarama.RecordHeader{
		header("ce_specversion", "1.0"), header("ce_type", "order.created"), header("ce_source", "/orders"),
		header("ce_id", fmt.Sprintf("%s#%d", order, n)), header("ce_subject", order), header("ce_partitionkey", order),
		header("content-type", "application/json"),
	}
}

// ofHarness returns a letter as the harness writes it, for the record at an offset of partition 2.
func (b *bench) ofHarness(key string, offset int, headers []sarama.RecordHeader) *sarama.ProducerMessage {
	return &sarama.ProducerMessage{
		Topic: b.topic + ".dlq", Key: sarama.StringEncoder(key), Value: sarama.StringEncoder(`{"orderId":"` + key + `"}`),
		Headers: append(headers,
			header("ce_consumer", "reserve-stock"), header("ce_deadlettertopic", b.topic), header("ce_deadletterpartition", "2"),
			header("ce_deadletteroffset", strconv.Itoa(offset)), header("ce_deadletterattempts", "11"), header("ce_deadlettererror", "503: out of luck"),
			header("ce_deadlettertime", "2026-11-25T12:00:00.5Z"), header("ce_knativeerrorcode", "503")),
	}
}

// ofKnative returns a letter as KafkaSource and KafkaSink write it.
func (b *bench) ofKnative(headers []sarama.RecordHeader) *sarama.ProducerMessage {
	return &sarama.ProducerMessage{
		Topic: b.topic + ".dlq", Value: sarama.StringEncoder(`{"orderId":"order-1"}`),
		Headers: append(headers,
			header("ce_consumer", "reserve-stock"), header("ce_knativekafkapartition", "1"), header("ce_knativekafkaoffset", "7"),
			header("ce_knativeerrordest", "http://reserve-stock.orders.svc.cluster.local"), header("ce_knativeerrorcode", "422"),
			header("ce_knativeerrordata", base64.StdEncoding.EncodeToString([]byte("never will")))),
	}
}

// find returns the letters that s selects, with their contents.
func (b *bench) find(t *testing.T, s deadletter.Selector) []deadletter.Letter {
	t.Helper()
	var places []deadletter.Place
	for _, l := range b.selected(t, s) {
		places = append(places, l.Place)
	}
	letters, err := b.Load(t.Context(), places)
	require.NoError(t, err)
	require.Len(t, letters, len(places))
	return letters
}

// selected returns the letters that s selects, without their contents.
func (b *bench) selected(t *testing.T, s deadletter.Selector) []deadletter.Summary {
	t.Helper()
	found, err := b.Find(t.Context(), s)
	require.NoError(t, err)
	return found
}

// actions returns the actions on a letter.
func actions(l deadletter.Letter) []operations.DeadLetterActionsAction {
	var done []operations.DeadLetterActionsAction
	for _, a := range l.History {
		done = append(done, a.Action)
	}
	return done
}

// outcomes collects the reports as "result id".
type outcomes []string

func (o *outcomes) report(l deadletter.Summary, r deadletter.Result, _ string) {
	*o = append(*o, string(r)+" "+l.EventID)
}

// The environment's proxy leads nowhere: replays bypass it. Clients that respect it skip it only for loopback addresses, and
// 0.0.0.0, the consumers' address, is not one.
func init() {
	if err := os.Setenv("HTTP_PROXY", "http://127.0.0.1:1"); err != nil {
		panic(err)
	}
}

// consumers are functions that record their events and answer as the test sets.
type consumers struct {
	url string

	mu       sync.Mutex
	given    []string // "path id body"
	headers  []http.Header
	answer   func(w http.ResponseWriter, id string)
	readying int
}

func newConsumers(t *testing.T) *consumers {
	t.Helper()
	c := &consumers{readying: http.StatusOK}
	address := functiontest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/health/readiness") {
			w.WriteHeader(c.readying)
			return
		}
		body, _ := io.ReadAll(r.Body) // missing data shows in the comparison
		id := r.Header.Get("Ce-Id")
		c.mu.Lock()
		c.given = append(c.given, r.Method+" "+r.URL.Path+" "+id+" "+string(body))
		c.headers = append(c.headers, r.Header)
		answer := c.answer
		c.mu.Unlock()
		if answer != nil {
			answer(w, id)
		}
	})
	c.url = strings.Replace(address, "127.0.0.1", "0.0.0.0", 1) + "/f/{consumer}"
	return c
}

// answering sets the answer of the consumers from now on.
func (c *consumers) answering(status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = func(w http.ResponseWriter, _ string) {
		w.WriteHeader(status)
		fmt.Fprint(w, "so it is")
	}
}

// ids returns the ids of the received events, in order.
func (c *consumers) ids() (ids []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, given := range c.given {
		ids = append(ids, strings.Fields(given)[2])
	}
	return ids
}

func (b *bench) replay(c *consumers, o *outcomes) deadletter.Replay {
	return deadletter.Replay{
		Journal: b.Journal, Load: b.Load, FunctionsURL: c.url, ParkAfter: 3, States: []deadletter.State{deadletter.Open},
		Timeout: 10 * time.Second, Grace: 10 * time.Second, Report: o.report,
	}
}

// run replays all letters and returns the results.
func (b *bench) run(t *testing.T, c *consumers) outcomes {
	t.Helper()
	var o outcomes
	require.NoError(t, b.replay(c, &o).Run(context.WithoutCancel(t.Context()), b.selected(t, deadletter.Selector{})))
	return o
}
