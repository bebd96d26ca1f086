package bench

import (
	"context"
	"database/sql"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/go-sql-driver/mysql"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/knative"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/transaction"
)

// servers returns a target without a harness.
func servers(t *testing.T) Target {
	t.Helper()
	server, cluster := mysqltest.Server(t), kafkatest.Start(t)
	return Target{APIs: []string{"http://missing.invalid"}, Server: server, Outboxes: []string{schema.Orders, "billing"}, MaxConns: 4, Brokers: cluster.Brokers, TopicPrefix: cluster.Prefix}
}

// topics lists the topics of a target.
func topics(t *testing.T, target Target) map[string]sarama.TopicDetail {
	t.Helper()
	config := sarama.NewConfig()
	config.Version = sarama.V3_6_0_0
	admin, err := sarama.NewClusterAdmin(target.Brokers, config)
	require.NoError(t, err)
	defer func() { require.NoError(t, admin.Close()) }()
	all, err := admin.ListTopics()
	require.NoError(t, err)
	return all
}

// awaitNoTopic waits until a topic is gone: brokers learn of the deletion after its acknowledgement.
func awaitNoTopic(t *testing.T, target Target, name string) {
	t.Helper()
	require.Eventually(t, func() bool {
		_, there := topics(t, target)[name]
		return !there
	}, time.Minute, 20*time.Millisecond, "%s is gone", name)
}

// of returns the database of a stack whose schemas are all on one server.
func of(db *sql.DB, prefix string, outboxes []string) database {
	return database{[]server{{db, schema.All}}, prefix, outboxes}
}

func TestFloorIsMeasuredAroundTheLoadAndLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	target := servers(t)
	db := mysqltest.Pool(t, target.Server, schema.Orders)
	scratch := func() int {
		return mysqltest.Count(t, db, "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = ?", target.Server.Prefix+floorSchema)
	}
	r := &runner{target: target, options: Options{Floor: 50 * time.Millisecond, Concurrency: 6, Lines: 2}, database: of(db, target.Server.Prefix, target.Outboxes)}
	var before int

	f, err := r.floored(t.Context(), func() error {
		assert.Equal(t, 3, scratch())
		before = mysqltest.Count(t, db, "SELECT COUNT(*) FROM `"+target.Server.Prefix+floorSchema+"`.orders")
		assert.Equal(t, 2*before, mysqltest.Count(t, db, "SELECT COUNT(*) FROM `"+target.Server.Prefix+floorSchema+"`.order_items"))
		assert.Equal(t, before, mysqltest.Count(t, db, "SELECT COUNT(*) FROM `"+target.Server.Prefix+floorSchema+"`.outbox"))
		return ErrLost
	})

	require.ErrorIs(t, err, ErrLost, "the floor of a load with lost orders is measured all the same")
	require.NotNil(t, f)
	assert.Equal(t, 6, f.Concurrency)
	assert.EqualValues(t, before, f.Before.Orders.Latency.Count+f.Before.Packed.Latency.Count+f.Before.One.Latency.Count+int64(target.MaxConns))
	for _, bare := range []Bare{f.Before, f.After, f.Mean} {
		for _, speed := range []Speed{bare.Orders, bare.Packed, bare.One, bare.Produce} {
			assert.Positive(t, speed.PerSecond)
			assert.Positive(t, speed.Latency.P50)
		}
	}
	assert.InEpsilon(t, (f.Before.Orders.PerSecond+f.After.Orders.PerSecond)/2, f.Mean.Orders.PerSecond, 1e-9)
	assert.Zero(t, scratch())
	awaitNoTopic(t, target, target.TopicPrefix+floorTopic)
	assert.Zero(t, mysqltest.Count(t, db, "SELECT COUNT(*) FROM orders"))
}

func TestFloorOfAnOpenLoopIsThatOfAllConnections(t *testing.T) {
	t.Parallel()
	target := servers(t)
	db := mysqltest.Pool(t, target.Server, schema.Orders)
	r := &runner{target: target, options: Options{Floor: 20 * time.Millisecond, Concurrency: 256, Rate: 20, Lines: 1}, database: of(db, target.Server.Prefix, target.Outboxes)}
	f, err := r.floored(t.Context(), func() error { return nil })
	require.NoError(t, err)
	assert.Equal(t, target.MaxConns, f.Concurrency)
}

func TestErrorOfTheFloorEndsIt(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	_, err := hammer(t.Context(), time.Hour, 3, func(context.Context) error {
		if n.Add(1) == 10 {
			return http.ErrBodyNotAllowed
		}
		return nil
	})
	assert.ErrorIs(t, err, http.ErrBodyNotAllowed)
}

// stored returns events of so many orders.
func stored(t *testing.T, n int) []event.Event {
	t.Helper()
	list := make([]event.Event, n)
	for i := range list {
		var err error
		list[i], err = events.New(events.OrderConfirmed{
			OrderID: uuid.NewString(), CustomerEmail: "a@example.com", TotalAmount: 1, CreatedAt: time.Now(),
		}, 1, time.Now(), events.Cause{})
		require.NoError(t, err)
	}
	return list
}

func TestOutboxReturnsTheLatencyOfTheLoadsRows(t *testing.T) {
	t.Parallel()
	target := servers(t)
	db := mysqltest.Pool(t, target.Server, schema.Orders)
	billing := outboxtest.Another(t, target.Server, "billing")
	d := of(db, target.Server.Prefix, target.Outboxes)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	outboxtest.Store(t, db, at, stored(t, 2)...) // before the load
	marks, err := d.marks(t.Context())
	require.NoError(t, err)
	outboxtest.Store(t, db, at, stored(t, 5)...)
	outboxtest.Store(t, billing, at, stored(t, 4)...)
	for _, one := range []*sql.DB{db, billing} {
		_, err = one.ExecContext(t.Context(), "UPDATE outbox SET status = 'SENT', sent_at = created_at + INTERVAL 2500 MICROSECOND WHERE id <> (SELECT MAX(id) FROM (SELECT id FROM outbox) o)")
		require.NoError(t, err)
	}

	l, err := d.outbox(t.Context(), marks)

	require.NoError(t, err)
	assert.Equal(t, int64(4+3), l.Count, "in each outbox one row is not sent yet")
	assert.InEpsilon(t, 2.5, l.P50, .001)
}

func TestBacklogIsRemovedAfterTheRelaysHaveMarkedIt(t *testing.T) {
	t.Parallel()
	db := mysqltest.Pool(t, mysqltest.Server(t), schema.Orders)
	outboxtest.Store(t, db, time.Now(), stored(t, 3)...)
	const rows = 300
	require.NoError(t, transaction.Once(t.Context(), db, func(ctx context.Context, tx *transaction.Tx) error { return store(ctx, tx, rows) }))
	last := mysqltest.Count(t, db, "SELECT MAX(id) FROM outbox")

	// A relay that locks rows from the last to the first.
	relay, err := db.BeginTx(t.Context(), transaction.ReadCommitted)
	require.NoError(t, err)
	defer func() { _ = relay.Rollback() }() // without effect after the commit below
	mark := func(id int) {
		_, err := relay.ExecContext(t.Context(), "UPDATE outbox SET status = 'SENT', sent_at = NOW(6) WHERE id = ?", id)
		require.NoError(t, err)
	}
	mark(last)
	removed := make(chan error, 1)
	go func() { removed <- removeBacklog(t.Context(), db, true) }()
	for id := last - 1; id > last-rows; id-- {
		mark(id)
	}
	require.NoError(t, relay.Commit())

	require.NoError(t, <-removed)
	assert.Equal(t, 3, mysqltest.Count(t, db, "SELECT COUNT(*) FROM outbox"), "what others stored")
}

func TestDatabaseReturnsVersionAndCounters(t *testing.T) {
	t.Parallel()
	target := servers(t)
	db := mysqltest.Pool(t, target.Server, schema.Orders)
	d := of(db, target.Server.Prefix, target.Outboxes)
	s, err := d.describe(t.Context(), target)
	require.NoError(t, err)
	assert.NotEmpty(t, s.Database)
	assert.Equal(t, 1, s.Members)
	before, err := d.counters(t.Context())
	require.NoError(t, err)
	for range 3 {
		tx, err := db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		_, err = tx.ExecContext(t.Context(), "DO 1")
		require.NoError(t, err)
		require.NoError(t, tx.Commit())
	}
	after, err := d.counters(t.Context())
	require.NoError(t, err)
	assert.GreaterOrEqual(t, perOrder(before, after, 3).Status["Com_commit"], 1.) // others may use the server, too
}

func TestCountersOfSeveralServersAreAddedUp(t *testing.T) {
	t.Parallel()
	target := servers(t)
	config, err := mysql.ParseDSN(target.Server.DSN)
	require.NoError(t, err)
	config.Params = map[string]string{"net_write_timeout": "100"} // the same server once more
	target.Server.Own = map[string]schema.Own{schema.Inventory: {DSN: config.FormatDSN()}}
	d, err := openDatabase(target)
	require.NoError(t, err)
	defer func() { require.NoError(t, d.close()) }()
	s, err := d.describe(t.Context(), target)
	require.NoError(t, err)
	assert.Contains(t, s.Database, "2 servers, ")
	before, err := d.counters(t.Context())
	require.NoError(t, err)
	for range 3 {
		tx, err := d.of(schema.Orders).BeginTx(t.Context(), nil)
		require.NoError(t, err)
		_, err = tx.ExecContext(t.Context(), "DO 1")
		require.NoError(t, err)
		require.NoError(t, tx.Commit())
	}
	after, err := d.counters(t.Context())
	require.NoError(t, err)
	assert.GreaterOrEqual(t, perOrder(before, after, 3).Status["Com_commit"], 2.)
}

func TestStackWithAnotherPrefixIsExplained(t *testing.T) {
	t.Parallel()
	target := servers(t)
	_, err := watch(t.Context(), target.Brokers, target.TopicPrefix)
	assert.ErrorContains(t, err, "KAFKA_TOPIC_PREFIX")
	db := mysqltest.Pool(t, target.Server, schema.Orders)
	_, err = of(db, "missing_", target.Outboxes).marks(t.Context())
	assert.ErrorContains(t, err, "MYSQL_SCHEMA_PREFIX")
}

func TestEndsAreReadFromTheirTopics(t *testing.T) {
	t.Parallel()
	target := servers(t)
	list := []knative.Topic{{Name: target.TopicPrefix + events.OrderConfirmedType, Partitions: 3, Replicas: 1}, {Name: target.TopicPrefix + events.OrderFailedType, Partitions: 1, Replicas: 1}}
	require.NoError(t, kafka.EnsureTopics(t.Context(), target.Brokers, list))
	producer := kafka.NewProducer(target.Brokers, target.TopicPrefix, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { require.NoError(t, producer.Close()) })
	require.NoError(t, producer.Publish(t.Context(), stored(t, 1))[0].Err) // before the load: not read
	w, err := watch(t.Context(), target.Brokers, target.TopicPrefix)
	require.NoError(t, err)
	batch, all := stored(t, 4), make(samples, 4)
	w.follow(time.Now(), all)
	for n, e := range batch {
		w.accepted(e.Subject(), n)
	}

	for _, o := range producer.Publish(t.Context(), batch) {
		require.NoError(t, o.Err)
	}

	require.NoError(t, w.await(t.Context(), time.Minute))
	require.NoError(t, w.close())
	assert.Equal(t, 3, w.partitions)
	assert.Equal(t, 4, all.confirmed())
	assert.Empty(t, w.early)
	for _, s := range all {
		assert.Positive(t, s.relayed)
		assert.Positive(t, s.ended)
	}
}

func TestBacklogIsDrainedAndRemoved(t *testing.T) {
	t.Parallel()
	target := servers(t)
	db := mysqltest.Pool(t, target.Server, schema.Orders)
	outboxtest.Store(t, db, time.Now(), stored(t, 1)...) // of another client
	require.NoError(t, kafka.EnsureTopics(t.Context(), target.Brokers, []knative.Topic{{Name: target.TopicPrefix + events.OrderConfirmedType, Partitions: 5, Replicas: 1}}))
	producer := kafka.NewProducer(target.Brokers, target.TopicPrefix, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { require.NoError(t, producer.Close()) })
	swept := make(chan error, 1)
	made := 0
	wake := func(...uint8) {
		made = int(topics(t, target)[target.TopicPrefix+backlogType].NumPartitions)
		go func() {
			_, err := outbox.Relay{DB: db, Publisher: producer, Now: time.Now}.Sweep(t.Context())
			swept <- err
		}()
	}

	b, err := Drain(t.Context(), target, 1200, 0, time.Minute, wake, nil)

	require.NoError(t, err)
	assert.Equal(t, 1200, b.Rows)
	assert.Equal(t, []int{5, 5}, []int{made, b.Stack.Partitions}, "as many as the stack's topics")
	assert.InEpsilon(t, 1200/b.Seconds, b.PerSecond, 1e-9)
	require.NoError(t, <-swept)
	assert.Equal(t, 1, mysqltest.Count(t, db, "SELECT COUNT(*) FROM outbox"))
	awaitNoTopic(t, target, target.TopicPrefix+backlogType)
	assert.Nil(t, b.Latency)
	assert.Nil(t, b.SinceCommit)

	again := kafka.NewProducer(target.Brokers, target.TopicPrefix, slog.New(slog.DiscardHandler)) // the topic is another one now
	defer func() { require.NoError(t, again.Close()) }()
	sweep := func(shards ...uint8) {
		_, err := outbox.Relay{DB: db, Publisher: again, Now: time.Now}.Sweep(t.Context(), shards...)
		assert.NoError(t, err)
	}
	b, err = Drain(t.Context(), target, 20, 200, time.Minute, sweep, nil)
	require.NoError(t, err)
	assert.EqualValues(t, 20, b.Latency.Count)
	assert.EqualValues(t, 20, b.SinceCommit.Count)
	assert.Positive(t, b.SinceCommit.P50)
	assert.Greater(t, b.Latency.Mean, b.SinceCommit.Mean, "the transaction takes its time too")
	assert.InDelta(t, 200, b.Rate, 0)
	assert.Equal(t, 1, mysqltest.Count(t, db, "SELECT COUNT(*) FROM outbox"))
}

func TestABacklogThatIsNotDrainedIsReported(t *testing.T) {
	t.Parallel()
	target := servers(t)
	require.NoError(t, kafka.EnsureTopics(t.Context(), target.Brokers, []knative.Topic{{Name: target.TopicPrefix + events.OrderConfirmedType, Partitions: 1, Replicas: 1}}))
	_, err := Drain(t.Context(), target, 7, 0, 300*time.Millisecond, func(...uint8) {}, nil)
	require.ErrorContains(t, err, "0 of 7 events")
	_, err = Drain(t.Context(), target, 0, 0, time.Second, nil, nil)
	assert.ErrorContains(t, err, "--backlog 0")
}

func TestAUserWithItsSchemasAndNoMoreCanBench(t *testing.T) {
	t.Parallel()
	server := mysqltest.Server(t)
	root := mysqltest.Pool(t, server, schema.Orders)
	exec := func(statement string) {
		_, err := root.ExecContext(context.WithoutCancel(t.Context()), statement)
		require.NoError(t, err)
	}
	name := "bench" + strings.Trim(server.Prefix, "_")
	user := "'" + name + "'@'%'"
	exec("CREATE USER " + user + " IDENTIFIED BY 'secret'")
	t.Cleanup(func() { exec("DROP USER " + user) })
	exec("GRANT SELECT ON `" + server.Prefix + schema.Orders + "`.* TO " + user)
	config, err := mysql.ParseDSN(server.DSN)
	require.NoError(t, err)
	config.User, config.Passwd = name, "secret"

	c, err := of(mysqltest.Pool(t, schema.Server{DSN: config.FormatDSN(), Prefix: server.Prefix}, schema.Orders), server.Prefix, nil).counters(t.Context())
	require.NoError(t, err)
	assert.Positive(t, c.status["Questions"])
	assert.Empty(t, c.statements)
}
