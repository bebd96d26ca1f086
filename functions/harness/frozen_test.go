package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/sql/embedded"
)

// A database stopped by a signal, and a broker that accepts connections but never answers, are the worst outages: no client
// gets an error.
func TestHealthNamesHangingPartsAndRecoversSoonAfter(t *testing.T) {
	database := ownDatabase(t, t.TempDir())
	signal := func(s syscall.Signal) func() {
		return func() { require.NoError(t, syscall.Kill(database.Pid(), s)) }
	}
	cluster := kafkatest.Fake(t)
	var held chan struct{}
	s := stack{data: t.TempDir(), environ: []string{
		"MYSQL_DSN=" + database.DSN(), "MYSQL_SCHEMA_PREFIX=", "KAFKA_BROKERS=" + strings.Join(cluster.Brokers, ","), "KAFKA_TOPIC_PREFIX=",
	}}
	p := s.up(t)
	for _, c := range []struct {
		name         string
		freeze, thaw func()
		reasons      []string // the names of some parts that say why
	}{
		{"the database", signal(syscall.SIGSTOP), signal(syscall.SIGCONT), []string{"create-order", "publish-outbox-orders", "notify"}},
		{"the broker", func() {
			held = make(chan struct{})
			cluster.Fake.Control(func(kmsg.Request) (kmsg.Response, error, bool) {
				<-held // the only loop of the cluster
				return nil, nil, false
			})
		}, func() { close(held) }, []string{"kafka"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.freeze()
			thaw := c.thaw
			defer func() { thaw() }()
			p.await(t, "it is reported", func() bool {
				took, status, reasons := p.health(t)
				assert.Less(t, took, 10*time.Second, "two seconds, whatever hangs") // more on a busy machine
				if status == http.StatusOK {
					return false
				}
				for _, name := range c.reasons {
					if !strings.Contains(reasons[name], "no answer within 2s") {
						return false // it was asked before the freeze
					}
				}
				t.Logf("reported within %s", took.Round(time.Millisecond))
				return true
			})
			assert.Equal(t, http.StatusServiceUnavailable, p.get(t, "/health/ready", nil))
			assert.Equal(t, http.StatusOK, p.get(t, "/health/live", nil))
			thaw()
			thaw = func() {}
			begin := time.Now()
			p.await(t, "it is well", func() bool { return p.get(t, "/health", nil) == http.StatusOK })
			t.Logf("well after %s", time.Since(begin).Round(time.Millisecond))
			p.awaitStatus(t, p.place(t, "SKU-123", 1).OrderID, "CONFIRMED")
		})
	}
	p.stop(t)
}

// ownDatabase starts a private server in a folder, which the test may disturb.
func ownDatabase(t *testing.T, dir string) *embedded.Server {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a database server: run without -short")
	}
	database, err := embedded.Start(t.Context(), embedded.Options{Dir: dir, Fast: true})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, database.Stop(context.Background())) })
	return database
}

// health requests the reasons, and measures how long the answer takes.
func (p *process) health(t *testing.T) (took time.Duration, status int, reasons map[string]string) {
	t.Helper()
	begin := time.Now()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+"/health", nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { assert.NoError(t, response.Body.Close()) }()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	var answer struct{ Reasons map[string]string }
	require.NoError(t, json.Unmarshal(text, &answer))
	return time.Since(begin), response.StatusCode, answer.Reasons
}
