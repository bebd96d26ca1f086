package main

import (
	"context"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/porttest"
)

// member is one of several harnesses on the same servers.
type member struct {
	stack
	program string // of another build; empty for this one
	address string
	*process
}

// newMembers returns n harnesses on shared servers that are not started yet.
func newMembers(t *testing.T, n int) []*member {
	t.Helper()
	cluster, server, version := kafkatest.ForProcesses(t), mysqltest.Empty(t), eventVersion(t)
	members := make([]*member, n)
	for i := range members {
		members[i] = &member{address: porttest.Address(t), stack: stack{data: t.TempDir(), environ: append(cluster.Environ(),
			"MYSQL_DSN="+server.DSN, "MYSQL_SCHEMA_PREFIX="+server.Prefix, version)}}
	}
	return members
}

func (m *member) start(t *testing.T, args ...string) {
	t.Helper()
	args = append([]string{"up", "--addr", m.address, "--data", m.data, "--sample-stock=false"}, args...)
	m.process = launchProgram(t, or(m.program, os.Args[0]), nil, m.environ, args...)
	m.process.stack, m.url = m.stack, "http://"+m.address
	m.await(t, "it is ready", func() bool { return m.get(t, "/health", nil) == http.StatusOK })
}

// drain stops a member with SIGTERM and returns how long that took, which must not exceed the time for events in flight.
func (m *member) drain(t *testing.T) time.Duration {
	t.Helper()
	begin := time.Now()
	require.NoError(t, m.cmd.Process.Signal(syscall.SIGTERM))
	<-m.ended
	require.NoError(t, m.err)
	took := time.Since(begin)
	assert.Less(t, took, 15*time.Second, "ten seconds are for the events under way")
	return took
}

// Members start, drain and are killed while the clients continue; each step waits until the previous one has taken effect.
func TestMembersComeAndGoUnderLoad(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs a database server: run without -short")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	members := newMembers(t, 3)
	a, b, c := members[0], members[1], members[2]
	l := newLoad("http://"+a.address, "http://"+b.address, "http://"+c.address)
	l.pace = 50 * time.Millisecond

	a.start(t)
	l.start(ctx, 1, 0)
	b.start(t)
	c.start(t)
	t.Logf("an order takes %s with three members", throughAll(ctx, t, l, a.process))
	t.Logf("a member drained in %s", b.drain(t))
	t.Logf("an order takes %s after that", throughAll(ctx, t, l, a.process))
	c.kill(t)
	t.Logf("an order takes %s after a kill", throughAll(ctx, t, l, a.process))
	b.start(t)
	c.start(t)
	a.kill(t)
	t.Logf("an order takes %s after a kill of one of three", throughAll(ctx, t, l, b.process))
	t.Logf("a member drained in %s", c.drain(t))
	a.start(t)
	l.end()

	d := a.databases(t)
	took, v, err := l.settle(ctx, d, 2*time.Minute)
	d.close()
	require.NoError(t, err)
	t.Logf("%d orders, settled %s after the last answer: lost %d, doubled %d, oversold %d", len(l.placed), took.Round(time.Millisecond), v.lost, v.doubled, v.oversold)
	assert.Empty(t, v.what)
	assert.Empty(t, l.broken)
	a.audit(t)
	t.Logf("the last members drained in %s and %s", a.drain(t), b.drain(t))
}

// throughAll places enough orders to have some on every partition, and returns how long it took until all had ended.
func throughAll(ctx context.Context, t *testing.T, l *load, m *process) time.Duration {
	t.Helper()
	begin := time.Now()
	ids := make([]string, 12)
	for i := range ids {
		ids[i] = l.place(ctx, map[string]int{"PLENTY": 1})
	}
	for _, id := range ids {
		m.await(t, "order "+id+" has ended", func() bool {
			var o order
			return m.get(t, "/api/orders/"+id, &o) == http.StatusOK && o.Status != "PENDING"
		})
	}
	return time.Since(begin).Round(time.Millisecond)
}
