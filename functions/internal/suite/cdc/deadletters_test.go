package cdc

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/host"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/operate/deadletter"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/functions/reservestock"
	"example.com/orders/knative"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/servertest"
)

// reserving is reserve-stock behind the topic that the connector of the orders writes.
type reserving struct {
	*captured

	spec   knative.KafkaSource
	url    string
	broken atomic.Bool // a fault that an operator repairs

	mu      sync.Mutex
	handled map[string]int // deliveries from the topic, by event id
}

const reserveStock = "reserve-stock"

func (s *captured) reserve() *reserving {
	s.Helper()
	r := &reserving{captured: s, handled: map[string]int{}}
	r.spec = s.wiring.Sources[slices.IndexFunc(s.wiring.Sources, func(k knative.KafkaSource) bool {
		return k.Sink == reserveStock && k.Topic == s.Prefix+events.OrderCreatedType
	})]
	db := s.pool(schema.Inventory)
	servertest.Exec(s, db, "INSERT INTO inventory (sku, available_qty, reserved_qty, version, updated_at) VALUES ('SKU-123', 100, 0, 1, NOW(6))")
	f := reservestock.New()
	f.DB = db
	functiontest.Start(s, f, mysqltest.Config(s.server))
	handler, err := host.Handler(f)
	require.NoError(s, err)
	r.url = functiontest.Serve(s, handler.ServeHTTP)

	var said functiontest.Log
	s.Cleanup(func() {
		if s.Failed() {
			s.Logf("the log of the source:\n%s", said.String())
		}
	})
	log := slog.New(slog.NewTextHandler(&said, nil))
	letters := kafka.NewProducer(s.Brokers, "", log)
	source := kafka.NewSource(kafka.SourceOptions{
		Brokers: s.Brokers, Spec: r.spec, DeadLetters: letters, Log: log,
		Ready: func(context.Context) bool { return true },
		Deliver: func(ctx context.Context, e event.Event) error {
			defer r.count(e.ID())
			if r.broken.Load() {
				return cehttp.NewResult(http.StatusUnprocessableEntity, "a fault of this release")
			}
			return f.Handle(ctx, e)
		},
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.Context()))
	var running sync.WaitGroup
	running.Go(func() { source.Run(ctx) })
	s.Cleanup(func() {
		cancel()
		running.Wait()
		assert.NoError(s, letters.Close())
	})
	return r
}

func (r *reserving) count(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.handled[id]++
}

func (r *reserving) deliveries(id string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.handled[id]
}

// box reads the dead letters.
func (r *reserving) box() deadletter.Box {
	r.Helper()
	reader, err := kafka.NewReader(r.Brokers, nil)
	require.NoError(r, err)
	r.Cleanup(func() { assert.NoError(r, reader.Close()) })
	return deadletter.Box{Reader: reader, Sources: r.wiring.Sources, Operations: r.pool(schema.Operations)}
}

// replay sends all open letters to reserve-stock again, and returns the result of each by event id.
func (r *reserving) replay(box deadletter.Box) map[string]deadletter.Result {
	r.Helper()
	open := deadletter.Selector{States: []deadletter.State{deadletter.Open}}
	found, err := box.Find(r.Context(), open)
	require.NoError(r, err)
	journal, err := deadletter.OpenJournal(r.Context(), r.pool(schema.Operations), "alice@laptop")
	require.NoError(r, err)
	defer func() { assert.NoError(r, journal.Close()) }()
	results := map[string]deadletter.Result{}
	require.NoError(r, deadletter.Replay{
		Journal: journal, Load: box.Load, FunctionsURL: r.url + "/{consumer}", ParkAfter: 3, States: open.States, Timeout: time.Minute, Grace: time.Minute,
		Report: func(l deadletter.Summary, result deadletter.Result, _ string) { results[l.EventID] = result },
	}.Run(r.Context(), found))
	return results
}

// reserved asserts that the stock is reserved once for each of n orders of two units.
func (r *reserving) reserved(n int) {
	r.Helper()
	db := r.pool(schema.Inventory)
	assert.Equal(r, 2*n, mysqltest.Count(r, db, "SELECT reserved_qty FROM inventory WHERE sku = 'SKU-123'"))
	assert.Equal(r, n, mysqltest.Count(r, db, "SELECT COUNT(*) FROM reservation_log"))
	assert.Equal(r, n, mysqltest.Count(r, db, "SELECT COUNT(*) FROM outbox WHERE type = ?", events.InventoryReservedType))
}

// What a function refuses of the connector's records is set aside as with a relay, and a replay has its effect once, also if
// the connector repeats the record afterwards.
func TestRecordsOfTheConnectorThatAFunctionRefusesAreSetAsideAndReplayed(t *testing.T) {
	s := startCaptured(t)
	r := s.reserve()
	r.broken.Store(true)
	old, err := s.connect.Position(t.Context(), s.connector.Name)
	require.NoError(t, err)
	order := functiontest.Event(t, functiontest.Created(t, events.Item{SKU: "SKU-123", Quantity: 2, UnitPrice: 1299}), 1)
	undecodable := functiontest.Broken(functiontest.Event(t, functiontest.Created(t, events.Item{SKU: "SKU-123", Quantity: 2, UnitPrice: 1299}), 1))
	outboxtest.Store(t, s.pool(schema.Orders), time.Now(), order)
	box := r.box()
	letters := map[string]deadletter.Letter{}
	aside := func(n int) {
		s.await(strconv.Itoa(n)+" letters are there", func() bool {
			found, err := box.Find(t.Context(), deadletter.Selector{Topic: r.spec.Delivery.DeadLetter})
			require.NoError(t, err)
			var places []deadletter.Place
			for _, l := range found {
				places = append(places, l.Place)
			}
			all, err := box.Load(t.Context(), places)
			require.NoError(t, err)
			for _, l := range all {
				letters[l.EventID] = l
			}
			return len(found) >= n
		})
	}
	aside(1)
	r.broken.Store(false)
	outboxtest.Store(t, s.pool(schema.Orders), time.Now(), undecodable)
	aside(2)

	published, _ := seen(t, s.Cluster, s.wiring)
	for _, e := range []event.Event{order, undecodable} {
		l := letters[e.ID()]
		assert.Equal(t, reserveStock, l.Consumer)
		assert.False(t, l.Forged)
		assert.Equal(t, http.StatusUnprocessableEntity, l.Status)
		assert.Equal(t, 1, l.Attempts)
		assert.NotEmpty(t, l.Error)
		assert.Equal(t, r.spec.Topic, l.Origin.Topic)
		r.assertUnchanged(l, published[events.OrderCreatedType+"/"+strconv.Itoa(int(l.Origin.Partition))][l.Origin.Offset])
	}
	assert.Contains(t, letters[order.ID()].Error, "a fault of this release")
	r.reserved(0)

	assert.Equal(t, map[string]deadletter.Result{order.ID(): deadletter.Done, undecodable.ID(): deadletter.Failed}, r.replay(box))

	r.reserved(1)
	s.stop()
	require.NoError(t, s.connect.Move(t.Context(), s.connector.Name, old))
	require.NoError(t, s.connect.Resume(t.Context(), s.connector.Name))
	s.await("both records have come again", func() bool { return r.deliveries(order.ID()) >= 2 && r.deliveries(undecodable.ID()) >= 2 })
	aside(3) // the repetition of what is undecodable is refused, too
	r.reserved(1)
}

// assertUnchanged asserts that a letter has the key, the value and the headers of its record, and no others but those of
// letters.
func (r *reserving) assertUnchanged(l deadletter.Letter, original record) {
	r.Helper()
	assert.Equal(r, original.Key, string(l.Record.Key))
	assert.Equal(r, original.Value, string(l.Record.Value))
	var headers, added []string
	for _, h := range l.Record.Headers {
		name := string(h.Key)
		if slices.Contains([]string{kafka.HeaderConsumer, kafka.HeaderStatus}, name) || strings.HasPrefix(name, "ce_deadletter") {
			added = append(added, name)
			continue
		}
		headers = append(headers, name+"="+strconv.Quote(string(h.Value)))
	}
	assert.ElementsMatch(r, original.Headers, headers)
	assert.ElementsMatch(r, []string{
		kafka.HeaderConsumer, kafka.HeaderTopic, kafka.HeaderPartition, kafka.HeaderOffset,
		kafka.HeaderAttempts, kafka.HeaderError, kafka.HeaderTime, kafka.HeaderStatus,
	}, added)
}

// The connector publishes neither an event with an attribute for which it has no header nor one that the broker refuses, and goes
// on. The relay sends the first, and parks the second with the reason.
func TestWhatTheConnectorCannotPublishIsRelayedOrParked(t *testing.T) {
	s := startCaptured(t)
	db := s.pool(schema.Orders)
	s.store(5)
	special := functiontest.Golden(t, events.OrderCreatedType, 1)
	special.SetExtension("loyalty", "gold")
	large := functiontest.Golden(t, events.OrderCreatedType, 1)
	large.DataEncoded = []byte(`"` + strings.Repeat("x", 1<<20) + `"`)
	outboxtest.Store(t, db, time.Now(), special, large)
	s.store(5)
	times := s.complete()
	assert.Len(t, times, 10)
	assert.NotContains(t, times, special.Subject())
	assert.NotContains(t, times, large.Subject())

	f := s.follower(time.Second)
	s.await("the large one is parked, and no other row is left", func() bool {
		_, err := f.Pass(t.Context())
		require.NoError(t, err)
		s.relayDue(s.Cluster, schema.Orders)
		const parked = "SELECT COUNT(*) FROM outbox WHERE status = 'ERROR' AND next_attempt_at IS NULL AND last_error LIKE '%too large%' AND aggregate_id = ?"
		return s.unsent() == 1 && mysqltest.Count(t, db, parked, large.Subject()) == 1
	})

	status, err := s.connect.Status(t.Context(), s.connector.Name)
	require.NoError(t, err)
	assert.Equal(t, "RUNNING", string(status.State()))
	all, n := seen(t, s.Cluster, s.wiring)
	assert.Equal(t, 11, n)
	var relayed []record
	for _, records := range all {
		for _, one := range records {
			if one.Key == special.Subject() {
				relayed = append(relayed, one)
			}
		}
	}
	require.Len(t, relayed, 1)
	assert.Contains(t, relayed[0].Headers, `ce_loyalty="gold"`)
}
