package cdc

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/operate/connect"
	"example.com/orders/functions/internal/testkit/porttest"
	"example.com/orders/functions/internal/testkit/servicetest"
	"example.com/orders/sql/migrate"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/servertest"
)

// another starts one more MySQL, with data of its own, from the installation of ".ci/run cdc".
func another(t *testing.T, id int) (s servicetest.Service, port int, server schema.Server) {
	t.Helper()
	state := t.TempDir()
	s = servicetest.In(t, "mysql", state)
	script := servicetest.Script(t, "mysql")
	porttest.Try(t, func(free int) error {
		port = free
		command := exec.CommandContext(t.Context(), script, "start")
		command.Env = append(os.Environ(), "SERVICES_STATE="+state, fmt.Sprint("MYSQL_PORT=", port), "MYSQL_BINLOG=1", fmt.Sprint("MYSQL_SERVER_ID=", id))
		out, err := command.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	t.Cleanup(func() {
		command := exec.Command(script, "stop") //nolint:noctx // after the test
		command.Env = append(os.Environ(), "SERVICES_STATE="+state)
		out, err := command.CombinedOutput()
		assert.NoError(t, err, "%s", out)
	})
	return s, port, schema.Server{DSN: fmt.Sprintf("root@tcp(127.0.0.1:%d)/", port)}
}

// The database fails over to a replica: by GTIDs the connector finds its place there.
func TestTheConnectorFindsItsPlaceOnAReplica(t *testing.T) {
	s := start(t, "cdc")
	primary, port, first := another(t, 11)
	_, replicaPort, second := another(t, 12)
	admin, err := second.Open("", 1)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, admin.Close()) })
	servertest.Exec(t, admin, fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = %d, SOURCE_USER = 'root', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1", port))
	servertest.Exec(t, admin, "START REPLICA")
	_, err = migrate.Up(t.Context(), first)
	require.NoError(t, err)
	s.server = first
	c := &captured{system: s}
	s.wiring.Connectors = s.wiring.Connectors[:1]
	s.at(port)
	s.capture()
	c.connector = s.connectors()[0]
	c.store(10)
	c.complete()

	require.NoError(t, s.connect.Stop(t.Context(), c.connector.Name))
	c.store(10) // the replica has them, the topics do not
	var executed string
	require.NoError(t, s.pool(schema.Orders).QueryRowContext(t.Context(), "SELECT @@gtid_executed").Scan(&executed))
	var late sql.NullInt64
	require.NoError(t, admin.QueryRowContext(t.Context(), "SELECT WAIT_FOR_EXECUTED_GTID_SET(?, 60)", executed).Scan(&late))
	require.Zero(t, late.Int64, "the replica has all")
	primary.Kill()
	servertest.Exec(t, admin, "STOP REPLICA")
	s.server = second
	s.at(replicaPort)
	c.connector = s.connectors()[0]
	require.NoError(t, s.connect.Put(t.Context(), c.connector.Name, c.connector.Config))
	require.NoError(t, s.connect.Resume(t.Context(), c.connector.Name))
	c.store(10)

	for key, n := range c.complete() {
		assert.Equal(t, 1, n, key)
	}
}

// at lets the connectors read from the server at a port.
func (s *system) at(port int) {
	for _, c := range s.wiring.Connectors {
		c.Config["database.port"] = strconv.Itoa(port)
	}
}

// Deleting old rows is no event.
func TestThePurgeOfTheOutboxIsNotPublished(t *testing.T) {
	s := startCaptured(t)
	s.store(5)
	s.complete()
	f := s.follower(longPatience)
	s.awaitMarked(f)
	deleted, err := outbox.Purge(t.Context(), s.pool(schema.Orders), f.Now().Add(longPatience))
	require.NoError(t, err)
	assert.EqualValues(t, 5, deleted)
	s.store(5)

	assert.Len(t, s.complete(), 10)
	_, n := seen(t, s.Cluster, s.wiring)
	assert.Equal(t, 10, n)
}

// The worker dies, and rows are purged that it has published and that it has not read yet: it publishes nothing for what was
// deleted, and what it had not published was relayed before.
func TestAPurgeWhileKafkaConnectIsDownPublishesNothingAndLosesNothing(t *testing.T) {
	s := startCaptured(t)
	f := s.follower(longPatience)
	s.store(5)
	s.complete()
	s.awaitMarked(f)
	worker := servicetest.Of(t, "connect", "connect-*")
	worker.Kill()
	s.store(5)
	s.awaitRelayed()
	deleted, err := outbox.Purge(t.Context(), s.pool(schema.Orders), f.Now().Add(longPatience))
	require.NoError(t, err)
	assert.EqualValues(t, 10, deleted)
	unread := s.store(5) // which stay
	worker.Start()
	last := s.store(5)

	times := s.complete()

	assert.Len(t, times, 20, "no record but those of the events")
	for _, e := range append(unread, last...) {
		assert.Equal(t, 1, times[e.Subject()], "stored after the worker's last position")
	}
	s.awaitMarked(f)
	s.assertRepeatsAreEqual()
	all, _ := seen(t, s.Cluster, s.wiring)
	for at, records := range all {
		for _, r := range records {
			assert.NotEmpty(t, r.Value, "%s has a tombstone of %s", at, r.Key)
		}
	}
	assert.Equal(t, connect.Running, s.state())
}
