package cdc

import (
	"context"
	"database/sql"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/operate/connect"
	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/knative"
	"example.com/orders/sql/cdc"
	"example.com/orders/sql/schema"
)

// system is the wiring of an overlay on schemas and topics of the test's own.
type system struct {
	*testing.T

	kafkatest.Cluster
	server  schema.Server
	wiring  *knative.Wiring
	connect *connect.Client
}

// start migrates schemas and creates topics; the connectors are not there yet.
func start(t *testing.T, overlay string) *system {
	t.Helper()
	address := os.Getenv(connect.URLVariable)
	if address == "" {
		t.Skip("CONNECT_URL is not set: .ci/run cdc starts what this test needs")
	}
	client, err := connect.New(address)
	require.NoError(t, err)
	s := &system{T: t, Cluster: kafkatest.Start(t), server: mysqltest.Server(t), connect: client}
	s.wiring = s.topicsOf(overlay, s.Cluster)
	require.NoError(t, cdc.Check(t.Context(), s.pool(schema.Orders)))
	return s
}

// topicsOf creates the topics of an overlay, and returns its wiring with their names.
func (s *system) topicsOf(overlay string, c kafkatest.Cluster) *knative.Wiring {
	s.Helper()
	w, err := knative.LoadOverlay(knative.Manifests(), overlay)
	require.NoError(s, err)
	w, err = w.WithTopicPrefix(c.Prefix)
	require.NoError(s, err)
	require.NoError(s, kafka.EnsureTopics(s.Context(), c.Brokers, onOneBroker(w.Topics)))
	return w
}

func onOneBroker(topics []knative.Topic) []knative.Topic {
	one := make([]knative.Topic, len(topics))
	for i, topic := range topics {
		one[i] = topic
		one[i].Replicas = 1
	}
	return one
}

func (s *system) pool(name string) *sql.DB {
	s.Helper()
	return mysqltest.Pool(s, s.server, name)
}

// prepare gives all captured outboxes their columns, and the user of the connectors its rights.
func (s *system) prepare() {
	s.Helper()
	var schemas []string
	for _, c := range s.wiring.Connectors {
		_, err := cdc.AddColumns(s.Context(), s.pool(c.Schema))
		require.NoError(s, err)
		schemas = append(schemas, c.Schema)
	}
	require.NoError(s, cdc.Grant(s.Context(), s.pool(schema.Orders), s.server, os.Getenv("CDC_MYSQL_USER"), os.Getenv("CDC_MYSQL_PASSWORD"), schemas))
}

// capture starts the connectors and returns once they follow the binary log.
func (s *system) capture() {
	s.Helper()
	s.prepare()
	for _, c := range s.connectors() {
		require.NoError(s, s.connect.Put(s.Context(), c.Name, c.Config))
		s.Cleanup(func() { assert.NoError(s, s.connect.Delete(context.WithoutCancel(s.Context()), c.Name)) })
	}
	for _, c := range s.connectors() {
		s.follows(c)
	}
}

func (s *system) connectors() (all []knative.Connector) {
	for _, c := range s.wiring.Connectors {
		all = append(all, c.WithSchemaPrefix(s.server.Prefix))
	}
	return all
}

// follows returns once a connector runs and has stored a position.
func (s *system) follows(c knative.Connector) {
	s.Helper()
	s.await(c.Name+" follows the binary log", func() bool {
		status, err := s.connect.Status(s.Context(), c.Name)
		require.NoError(s, err)
		require.NotEqual(s, connect.Failed, status.State(), "%s", status.Trace)
		if status.State() != connect.Running {
			return false
		}
		at, err := s.connect.Position(s.Context(), c.Name)
		require.NoError(s, err)
		return at.Offset != nil
	})
}

// await looks until fact holds, and fails the test after two minutes.
func (s *system) await(what string, fact func() bool) {
	s.Helper()
	look := time.NewTicker(200 * time.Millisecond)
	defer look.Stop()
	for end := time.Now().Add(2 * time.Minute); !fact(); <-look.C {
		require.True(s, time.Now().Before(end), "waited in vain until %s", what)
	}
}
