package publishoutbox

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/functions/internal/testkit/porttest"
	"example.com/orders/knative"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/transaction"
)

// start starts the function on the orders schema with a publisher that keeps the events it is given.
func start(t *testing.T) (*Function, *outboxtest.Publisher) {
	t.Helper()
	p := &outboxtest.Publisher{}
	f := New()
	f.Schema, f.Publisher = schema.Orders, p
	return functiontest.Start(t, f, nil), p
}

// asking returns a poke or a tick with this data, without data if it is empty.
func asking(eventType, data string) event.Event {
	e := event.New()
	e.SetID("ask-1")
	e.SetSource("/orders")
	e.SetType(eventType)
	if data != "" {
		e.SetDataContentType(event.ApplicationJSON)
		e.DataEncoded = []byte(data)
	}
	return e
}

// store adds the first fact of a new order to the outbox.
func store(t *testing.T, db *sql.DB) event.Event {
	t.Helper()
	e := functiontest.Event(t, functiontest.Created(t, events.Item{SKU: "A", Quantity: 1, UnitPrice: 5}), 1)
	_, err := outbox.Store{DB: db, Now: time.Now}.Transact(t.Context(), func(context.Context, *transaction.Tx) ([]event.Event, error) {
		return []event.Event{e}, nil
	})
	require.NoError(t, err)
	return e
}

func TestAPokeRelaysAllThatIsNew(t *testing.T) {
	f, p := start(t)
	a, b := store(t, f.DB), store(t, f.DB)

	require.NoError(t, f.Handle(t.Context(), asking(PokeType, "")))
	require.NoError(t, f.Handle(t.Context(), asking(PokeType, "")))

	sent := map[string]event.Event{}
	for _, e := range p.Events() {
		sent[e.ID()] = e
	}
	require.Len(t, p.Events(), 2, "the second poke finds nothing")
	assert.Equal(t, a, sent[a.ID()])
	assert.Equal(t, b, sent[b.ID()])
	assert.Equal(t, 2, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM outbox WHERE status = 'SENT'"))
}

func TestAPokeRelaysTheShardsThatItNames(t *testing.T) {
	f, p := start(t)
	named := store(t, f.DB)
	other := store(t, f.DB)
	for outbox.Shard(other.Subject()) == outbox.Shard(named.Subject()) {
		other = store(t, f.DB)
	}
	poke := asking(PokeType, "")
	require.NoError(t, poke.SetData(event.ApplicationJSON, map[string][]int{"shards": {int(outbox.Shard(named.Subject()))}}))

	require.NoError(t, f.Handle(t.Context(), poke))

	assert.Contains(t, p.Events(), named)
	assert.NotContains(t, p.Events(), other)
}

func TestATickRelays(t *testing.T) {
	for name, data := range map[string]string{"no data": "", "an empty object": "{}", "no shards": `{"shards":[]}`, "no purge": `{"purge":false}`} {
		t.Run(name, func(t *testing.T) {
			f, p := start(t)
			e := store(t, f.DB)
			require.NoError(t, f.Handle(t.Context(), asking(base.TickType, data)))
			assert.Equal(t, []event.Event{e}, p.Events())
		})
	}
}

func TestATickPurgesWhatIsPastItsRetention(t *testing.T) {
	f, p := start(t)
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	f.Now = func() time.Time { return now }
	exec := func(query string, args ...any) {
		_, err := f.DB.ExecContext(t.Context(), query, args...)
		require.NoError(t, err)
	}
	for _, age := range []time.Duration{f.SentRetention + time.Second, f.SentRetention - time.Second} {
		e := store(t, f.DB)
		exec("UPDATE outbox SET status = 'SENT', created_at = ?, sent_at = ? WHERE aggregate_id = ?", now.Add(-age), now.Add(-age), e.Subject())
	}
	store(t, f.DB)
	for id, age := range map[string]time.Duration{"old": f.HandledRetention + time.Second, "known": f.HandledRetention - time.Second} {
		exec("INSERT INTO inbox (consumer, source, event_id, processed_at) VALUES ('c', '/s', ?, ?)", id, now.Add(-age))
	}

	require.NoError(t, f.Handle(t.Context(), asking(base.TickType, `{"purge":true}`)))

	assert.Equal(t, 1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM outbox WHERE status = 'SENT'"))
	assert.Equal(t, 1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM outbox WHERE status = 'NEW'"))
	assert.Equal(t, 1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM inbox WHERE event_id = 'known'"))
	assert.Equal(t, 1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM inbox"))
	assert.Empty(t, p.Events(), "a purge relays nothing")
}

func TestMalformedEventsArePoison(t *testing.T) {
	f, p := start(t)
	store(t, f.DB)
	cases := map[string]event.Event{
		"broken data":        asking(PokeType, `{"shards":`),
		"a list":             asking(PokeType, `[1]`),
		"a word":             asking(PokeType, `{"shards":["one"]}`),
		"a shard too low":    asking(PokeType, `{"shards":[-1]}`),
		"a shard too high":   asking(PokeType, `{"shards":[0,8]}`),
		"a shard of 256":     asking(PokeType, `{"shards":[256]}`),
		"a word for purge":   asking(base.TickType, `{"purge":"yes"}`),
		"an unknown type":    asking("order.created", ""),
		"a type in capitals": asking("outbox.POKE", ""),
	}
	for name, e := range cases {
		t.Run(name, func(t *testing.T) { functiontest.AssertPoison(t, f.Handle(t.Context(), e)) })
	}
	assert.Empty(t, p.Events())
}

// away is a publisher whose broker does not answer.
type away struct{ outboxtest.Publisher }

var errAway = errors.New("no broker answers")

func (*away) Publish(_ context.Context, batch []event.Event) []outbox.Outcome {
	outcomes := make([]outbox.Outcome, len(batch))
	for i := range outcomes {
		outcomes[i].Err = errAway
	}
	return outcomes
}

func TestABrokerOutageIsRetried(t *testing.T) {
	f := New()
	f.Schema, f.Publisher = schema.Orders, &away{}
	functiontest.Start(t, f, nil)
	store(t, f.DB)

	err := f.Handle(t.Context(), asking(PokeType, ""))

	functiontest.AssertRetried(t, err)
	assert.ErrorIs(t, err, errAway)
	assert.Equal(t, 1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM outbox WHERE status = 'NEW' AND attempts = 0"))
}

func TestADatabaseOutageIsRetried(t *testing.T) {
	f := New()
	f.Publisher = &outboxtest.Publisher{}
	require.NoError(t, f.Start(t.Context(), map[string]string{"OUTBOX_SCHEMA": "orders", "MYSQL_DSN": "root@tcp(" + porttest.Address(t) + ")/"}))
	t.Cleanup(func() { assert.NoError(t, f.Stop(context.Background())) })
	for name, e := range map[string]event.Event{"poke": asking(PokeType, ""), "poke of a shard": asking(PokeType, `{"shards":[1]}`), "purge": asking(base.TickType, `{"purge":true}`)} {
		t.Run(name, func(t *testing.T) { functiontest.AssertRetried(t, f.Handle(t.Context(), e)) })
	}
	ready, err := f.Ready(t.Context())
	assert.False(t, ready)
	assert.Error(t, err)
}

func TestStartSaysWhatToSet(t *testing.T) {
	valid := func(change map[string]string) map[string]string {
		config := map[string]string{"OUTBOX_SCHEMA": "orders", "KAFKA_BROKERS": "127.0.0.1:9092", "MYSQL_DSN": "root@tcp(127.0.0.1:3306)/"}
		for name, value := range change {
			config[name] = value
		}
		return config
	}
	cases := map[string]struct {
		config map[string]string
		says   string
	}{
		"no schema":                     {valid(map[string]string{"OUTBOX_SCHEMA": ""}), `OUTBOX_SCHEMA is "": give orders or inventory`},
		"an unknown schema":             {valid(map[string]string{"OUTBOX_SCHEMA": "Orders"}), `OUTBOX_SCHEMA is "Orders"`},
		"a schema without an outbox":    {valid(map[string]string{"OUTBOX_SCHEMA": "notifications"}), "the schemas with an outbox"},
		"no brokers":                    {valid(map[string]string{"KAFKA_BROKERS": ""}), "KAFKA_BROKERS is not set: give the brokers as host:port,host:port"},
		"a listener's name":             {valid(map[string]string{"KAFKA_BROKERS": "PLAINTEXT://127.0.0.1:9092"}), "leave out PLAINTEXT://"},
		"two ways to Kafka":             {valid(map[string]string{"KAFKA_SINK_URL": "http://127.0.0.1/{topic}"}), "KAFKA_BROKERS and KAFKA_SINK_URL are both set"},
		"sinks of no topic":             {valid(map[string]string{"KAFKA_BROKERS": "", "KAFKA_SINK_URL": "http://127.0.0.1/"}), "KAFKA_SINK_URL: the KafkaSinks' address"},
		"no server":                     {valid(map[string]string{"MYSQL_DSN": ""}), "MYSQL_DSN is not set"},
		"a retention that is no time":   {valid(map[string]string{"OUTBOX_RETENTION": "8d"}), `OUTBOX_RETENTION is "8d": give a duration`},
		"a retention of nothing":        {valid(map[string]string{"INBOX_RETENTION": "0s"}), "INBOX_RETENTION"},
		"a prefix that is none of ours": {valid(map[string]string{"MYSQL_SCHEMA_PREFIX": "A"}), "MYSQL_SCHEMA_PREFIX"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			f := New()
			assert.ErrorContains(t, f.Start(t.Context(), c.config), c.says)
			assert.Equal(t, http.StatusServiceUnavailable, delivery.Status(f.Handle(t.Context(), asking(PokeType, ""))))
			assert.NoError(t, f.Stop(t.Context()))
			assert.NoError(t, f.Stop(t.Context()))
		})
	}
}

func TestRetentionsAreLongerThanThoseOfTheTopics(t *testing.T) {
	f, _ := start(t)
	assert.Greater(t, f.SentRetention, 7*24*time.Hour, "Kafka's own default is a week")
	assert.Greater(t, f.HandledRetention, f.SentRetention)
}

func TestEventsReachTheTopicsOfTheirTypes(t *testing.T) {
	cluster := kafkatest.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	topic := cluster.Prefix + events.OrderCreatedType
	require.NoError(t, kafka.EnsureTopics(ctx, cluster.Brokers, []knative.Topic{{Name: topic, Partitions: 3, Replicas: 1}}))
	config := mysqltest.Config(mysqltest.Server(t))
	config["OUTBOX_SCHEMA"] = schema.Orders
	config["KAFKA_BROKERS"] = strings.Join(cluster.Brokers, ",")
	config["KAFKA_TOPIC_PREFIX"] = cluster.Prefix
	f := New()
	require.NoError(t, f.Start(t.Context(), config))
	require.Eventually(t, func() bool { // each attempt has two seconds, on a slow machine too
		ready, err := f.Ready(t.Context())
		return ready && err == nil
	}, 30*time.Second, 10*time.Millisecond)
	e := store(t, f.DB)

	require.NoError(t, f.Handle(t.Context(), asking(base.TickType, "")))
	assert.NoError(t, f.Stop(t.Context()))
	assert.NoError(t, f.Stop(t.Context()))

	records := cluster.Records(t, topic, 1)
	assert.Equal(t, e.Subject(), string(records[0].Key))
	assert.Equal(t, string(e.Data()), string(records[0].Value), "byte by byte")
}

// startCaptured starts the function behind a connector that publishes nothing.
func startCaptured(t *testing.T, config ...string) (*Function, *outboxtest.Publisher) {
	t.Helper()
	c := kafkatest.Start(t)
	p := &outboxtest.Publisher{}
	f := New()
	f.Schema, f.Publisher = schema.Orders, p
	all := map[string]string{"OUTBOX_PUBLISHER": "cdc", "KAFKA_BROKERS": strings.Join(c.Brokers, ","), "KAFKA_TOPIC_PREFIX": c.Prefix}
	for i := 0; i < len(config); i += 2 {
		all[config[i]] = config[i+1]
	}
	require.NoError(t, kafka.EnsureTopics(t.Context(), c.Brokers, []knative.Topic{{Name: c.Prefix + events.OrderCreatedType, Partitions: 1, Replicas: 1}}))
	return functiontest.Start(t, f, all), p
}

func TestTheConnectorHasTheNewRowsAndTheRelayWhatItLeavesOut(t *testing.T) {
	f, p := startCaptured(t, "OUTBOX_CDC_PATIENCE", "1h")
	store(t, f.DB)
	require.NoError(t, f.Handle(t.Context(), asking(PokeType, "")))
	require.NoError(t, f.Handle(t.Context(), asking(base.TickType, "")))
	assert.Empty(t, p.Events())

	f.captured.Patience = 0
	require.NoError(t, f.Handle(t.Context(), asking(PokeType, "")))
	assert.Empty(t, p.Events(), "a poke is for relays")
	require.NoError(t, f.Handle(t.Context(), asking(base.TickType, "")))
	assert.Len(t, p.Events(), 1)
}

func TestStartRefusesWhatNoConnectorPublishes(t *testing.T) {
	for says, config := range map[string]map[string]string{
		`OUTBOX_PUBLISHER is "debezium": give relay or cdc`: {"OUTBOX_PUBLISHER": "debezium"},
		"OUTBOX_PUBLISHER is cdc: give KAFKA_BROKERS":       {"OUTBOX_PUBLISHER": "cdc"},
		"OUTBOX_CDC_PATIENCE":                               {"OUTBOX_PUBLISHER": "cdc", "KAFKA_BROKERS": "127.0.0.1:1", "OUTBOX_CDC_PATIENCE": "soon"},
		"EVENT_FORMAT is avro: give json":                   {"OUTBOX_PUBLISHER": "cdc", "KAFKA_BROKERS": "127.0.0.1:1", "EVENT_FORMAT": "avro", "SCHEMA_REGISTRY_URL": "http://127.0.0.1:1"},
	} {
		f := New()
		f.Schema, f.Publisher = schema.Orders, &outboxtest.Publisher{}
		assert.ErrorContains(t, f.Start(t.Context(), config), says)
	}
}
