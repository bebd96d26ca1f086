package cdc

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/messaging/capture"
	"example.com/orders/functions/internal/operate/connect"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/functions/internal/testkit/servicetest"
	"example.com/orders/knative"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/servertest"
)

// captured is a system with one connector, that of the orders.
type captured struct {
	*system

	connector knative.Connector
	stored    []event.Event
}

func startCaptured(t *testing.T) *captured {
	t.Helper()
	s := start(t, "cdc")
	s.wiring.Connectors = slices.DeleteFunc(s.wiring.Connectors, func(c knative.Connector) bool { return c.Schema != schema.Orders })
	s.capture()
	return &captured{system: s, connector: s.connectors()[0]}
}

// store adds n events to the outbox, each in a transaction of its own, and returns them.
func (s *captured) store(n int) []event.Event {
	s.Helper()
	db := s.pool(schema.Orders)
	for range n {
		e := functiontest.Golden(s, events.OrderCreatedType, 1)
		outboxtest.Store(s, db, time.Now(), e)
		s.stored = append(s.stored, e)
	}
	return s.stored[len(s.stored)-n:]
}

// state returns that of the connector.
func (s *captured) state() connect.State {
	s.Helper()
	status, err := s.connect.Status(s.Context(), s.connector.Name)
	require.NoError(s, err)
	return status.State()
}

// stop returns once the connector has stopped, with its task.
func (s *captured) stop() {
	s.Helper()
	require.NoError(s, s.connect.Stop(s.Context(), s.connector.Name))
	s.await("the connector has stopped", func() bool {
		status, err := s.connect.Status(s.Context(), s.connector.Name)
		require.NoError(s, err)
		return status.Connector == connect.Stopped && status.Task == connect.Absent
	})
}

// complete returns once each stored event has a record, and returns how many records each has.
func (s *captured) complete() map[string]int {
	s.Helper()
	var times map[string]int
	s.await("each stored event has a record", func() bool {
		times = map[string]int{}
		all, _, err := read(s.T, s.Cluster, s.wiring)
		if err != nil { // a broker that was away leads its partitions only after a while
			s.Logf("read again: %v", err)
			return false
		}
		for _, records := range all {
			for _, r := range records {
				times[r.Key]++
			}
		}
		for _, e := range s.stored {
			if times[e.Subject()] == 0 {
				return false
			}
		}
		return true
	})
	return times
}

// longPatience leaves nothing to the relay during a test.
const longPatience = time.Hour

// follower follows the outbox, and leaves rows to a relay that are older than its patience.
func (s *captured) follower(patience time.Duration) *capture.Follower {
	s.Helper()
	f := &capture.Follower{DB: s.pool(schema.Orders), Brokers: s.Brokers, TopicPrefix: s.Prefix, Patience: patience, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	s.Cleanup(func() { assert.NoError(s, f.Close()) })
	return f
}

// awaitMarked returns once a follower has marked all rows.
func (s *captured) awaitMarked(f *capture.Follower) {
	s.Helper()
	s.await("all rows are marked", func() bool {
		_, err := f.Pass(s.Context())
		require.NoError(s, err)
		return s.unsent() == 0
	})
}

// awaitRelayed returns once the relay has sent what the connector has not published.
func (s *captured) awaitRelayed() {
	s.Helper()
	f := s.follower(time.Second)
	s.await("the relay has sent all", func() bool {
		_, err := f.Pass(s.Context())
		require.NoError(s, err)
		s.relayDue(s.Cluster, schema.Orders)
		return s.unsent() == 0
	})
}

func (s *captured) unsent() int {
	return mysqltest.Count(s, s.pool(schema.Orders), "SELECT COUNT(*) FROM outbox WHERE status <> 'SENT'")
}

// A worker that is killed goes on from its last offset: it may repeat, and loses nothing.
func TestAKilledKafkaConnectLosesNothing(t *testing.T) {
	s := startCaptured(t)
	worker := servicetest.Of(t, "connect", "connect-*")
	s.store(50)
	worker.Kill()
	s.store(50)
	worker.Start()
	s.store(50)

	assert.Len(t, s.complete(), 150)

	s.awaitMarked(s.follower(longPatience))
}

// The relay takes over from a worker that hangs, and what the worker repeats then are the same records.
func TestAFrozenKafkaConnectHoldsUpNoEventForLong(t *testing.T) {
	s := startCaptured(t)
	s.store(20)
	s.complete()
	thaw := servicetest.Of(t, "connect", "connect-*").Freeze()
	s.store(20)
	s.awaitRelayed()
	thaw()

	s.await("the connector has repeated them", func() bool {
		twice := 0
		for _, n := range s.complete() {
			if n > 1 {
				twice++
			}
		}
		return twice >= 20
	})
	s.assertRepeatsAreEqual()
}

func (s *captured) assertRepeatsAreEqual() {
	s.Helper()
	first := map[string]record{}
	all, _ := seen(s.T, s.Cluster, s.wiring)
	for _, records := range all {
		for _, r := range records {
			if before, there := first[r.Key]; there {
				assert.Equal(s, before, r)
			}
			first[r.Key] = r
		}
	}
}

func TestAConnectorFromOldOffsetsRepeatsTheSameRecords(t *testing.T) {
	s := startCaptured(t)
	name := s.connector.Name
	old, err := s.connect.Position(t.Context(), name)
	require.NoError(t, err)
	s.store(30)
	s.complete()
	s.stop()
	require.NoError(t, s.connect.Move(t.Context(), name, old))
	require.NoError(t, s.connect.Resume(t.Context(), name))

	s.await("all were repeated", func() bool {
		for _, n := range s.complete() {
			if n < 2 {
				return false
			}
		}
		return true
	})
	s.assertRepeatsAreEqual()
}

// A connector whose position is no longer in the binary log fails, says so, and the table repairs what it lost.
func TestAPurgedBinaryLogIsSeenAndRepairedFromTheTable(t *testing.T) {
	s := startCaptured(t)
	name := s.connector.Name
	s.store(10)
	s.complete()
	s.stop()
	s.store(10)
	db := s.pool(schema.Orders)
	servertest.Exec(t, db, "FLUSH BINARY LOGS")
	s.store(10)
	servertest.Exec(t, db, "FLUSH BINARY LOGS")
	servertest.Exec(t, db, "PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY")
	require.NoError(t, s.connect.Resume(t.Context(), name))

	var status connect.Status
	s.await("the connector has failed", func() bool {
		var err error
		status, err = s.connect.Status(t.Context(), name)
		require.NoError(t, err)
		return status.State() == connect.Failed
	})
	assert.Contains(t, status.Reason(), "no longer available on the server")

	require.NoError(t, s.connect.Stop(t.Context(), name))
	s.await("its position is forgotten", func() bool { return s.connect.Forget(t.Context(), name) == nil })
	require.NoError(t, s.connect.Resume(t.Context(), name))
	s.follows(s.connector)
	s.store(1)
	s.await("the last one has a record", func() bool {
		all, _ := seen(t, s.Cluster, s.wiring)
		for _, records := range all {
			for _, r := range records {
				if r.Key == s.stored[len(s.stored)-1].Subject() {
					return true
				}
			}
		}
		return false
	})
	f := s.follower(longPatience)
	missing, stored, err := f.Missing(t.Context(), time.Now().Add(-time.Hour), 0)
	require.NoError(t, err)
	assert.Equal(t, 31, stored)
	assert.Len(t, missing, 20)
	n, err := f.Resend(t.Context(), missing)
	require.NoError(t, err)
	assert.Equal(t, 20, n)
	assert.Equal(t, 20, s.relayDue(s.Cluster, schema.Orders))
	for key, n := range s.complete() {
		assert.Equal(t, 1, n, key)
	}
	missing, _, err = f.Missing(t.Context(), time.Now().Add(-time.Hour), 0)
	require.NoError(t, err)
	assert.Empty(t, missing)
}

// away is longer than the producers of Kafka Connect wait for an answer, and than a worker keeps its tasks without a broker.
const away = 35 * time.Second

// The broker is away for a while, and the database has crashed once: the connector goes on by itself.
func TestTheConnectorOutlivesTheBrokerAndTheDatabase(t *testing.T) {
	s := startCaptured(t)
	s.store(10)
	s.complete()
	broker := servicetest.Of(t, "kafka", "kafka-*")
	thaw := broker.Freeze()
	s.store(10)
	s.await("records are under way", func() bool { return scrape(t)["kafka_connect_records_active"][s.connector.Name] >= 10 })
	database := servicetest.Of(t, "mysql", "mysql")
	database.Kill()
	database.Start()
	s.store(10)
	<-time.After(away)
	thaw()
	s.store(10)

	assert.Len(t, s.complete(), 40)
	assert.Zero(t, strings.Count(servicetest.Of(t, "connect", "connect-*").Log(), "Error encountered in task "+s.connector.Name), "records that Kafka Connect has dropped")
}

// A migration changes the table while the connector reads it, and again while it is away.
func TestTheConnectorFollowsChangesOfTheTable(t *testing.T) {
	s := startCaptured(t)
	db := s.pool(schema.Orders)
	s.store(5)
	servertest.Exec(t, db, "ALTER TABLE outbox ADD COLUMN note VARCHAR(20) NULL DEFAULT 'x' AFTER shard, ADD COLUMN size INT AS (LENGTH(payload)) VIRTUAL")
	s.store(5)
	require.NoError(t, s.connect.Stop(t.Context(), s.connector.Name))
	s.store(5)
	servertest.Exec(t, db, "ALTER TABLE outbox DROP COLUMN size, DROP COLUMN note")
	s.store(5)
	require.NoError(t, s.connect.Resume(t.Context(), s.connector.Name))
	s.store(5)

	assert.Len(t, s.complete(), 25)
}
