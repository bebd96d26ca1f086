package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/porttest"
)

// server is a real server that belongs to this test, behind a proxy.
type server struct {
	script  string
	environ []string
	state   string
	*proxy
}

// newServer starts the server of a script in .ci/services, on its own port and in its own folder.
func newServer(t *testing.T, script, portName, state string) *server {
	t.Helper()
	address := porttest.Address(t)
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	s := &server{script: filepath.Join("..", "..", ".ci", "services", script), state: state, proxy: newProxy(t, address)}
	s.environ = append(os.Environ(), "SERVICES_STATE="+s.state, portName+"="+port, "KAFKA_ADVERTISED="+s.address)
	t.Cleanup(func() { s.run(t, "stop") })
	s.run(t, "start")
	return s
}

func (s *server) run(t *testing.T, action string) {
	t.Helper()
	command := exec.CommandContext(context.Background(), s.script, action)
	command.Env = s.environ
	out, err := command.CombinedOutput()
	require.NoError(t, err, "%s %s: %s", s.script, action, out)
}

// signal sends a signal to the server; if the signal ends the server, it has ended when signal returns.
func (s *server) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.state, "pid"))
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(pid, signal))
	if signal == syscall.SIGTERM || signal == syscall.SIGKILL {
		require.Eventually(t, func() bool { return syscall.Kill(pid, 0) != nil }, time.Minute, 10*time.Millisecond, "%s ends", s.script)
	}
}

// fault is a fault of servers; inflict returns when it is over.
type fault struct {
	name    string
	inflict func(t *testing.T, database, broker *server)
	refuses bool // the API cannot accept orders meanwhile, and says so
}

// away returns how long servers are down: CRASH_AWAY, by default a few seconds.
func away(t *testing.T) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(or(os.Getenv("CRASH_AWAY"), "5s"))
	require.NoError(t, err, "CRASH_AWAY")
	return d
}

func faults(away time.Duration) []fault {
	of := func(broker, database *server, which string) *server {
		if which == "broker" {
			return broker
		}
		return database
	}
	var all []fault
	for _, which := range []string{"broker", "database"} {
		refuses := which == "database"
		kills := 1 // Kafka takes long to recover from one
		if which == "database" {
			kills = 3 // each in the middle of some commits
		}
		all = append(all,
			fault{which + " stopped for " + away.String(), func(t *testing.T, database, broker *server) {
				t.Helper()
				of(broker, database, which).signal(t, syscall.SIGTERM)
				<-time.After(away)
				of(broker, database, which).run(t, "start")
			}, refuses},
			fault{which + " frozen for " + away.String(), func(t *testing.T, database, broker *server) {
				t.Helper()
				of(broker, database, which).signal(t, syscall.SIGSTOP)
				<-time.After(away)
				of(broker, database, which).signal(t, syscall.SIGCONT)
			}, false}, // a request may wait as long as necessary
			fault{fmt.Sprintf("%s killed %d×", which, kills), func(t *testing.T, database, broker *server) {
				t.Helper()
				for range kills {
					of(broker, database, which).signal(t, syscall.SIGKILL)
					of(broker, database, which).run(t, "start")
					<-time.After(time.Second)
				}
			}, false}, // it may be back before a request fails
		)
	}
	return append(all, fault{"connections reset again and again", func(_ *testing.T, database, broker *server) {
		for range 30 {
			<-time.After(100 * time.Millisecond)
			database.reset()
			broker.reset()
		}
	}, false})
}

const (
	faultSample = 3
	// maxWarnings bounds the lines per second that a fault may add to the log of a harness: there are some twenty kinds, and
	// the log limiter passes a few of each in ten seconds.
	maxWarnings = 10
)

// With CRASH_SERVERS=1 the test's own real servers stop, freeze and die while clients are active. CRASH_ALL=1 injects all
// faults, and CRASH_DATABASE names the script of the database server.
func TestServerFaults(t *testing.T) {
	if os.Getenv("CRASH_SERVERS") == "" {
		t.Skip("installs and starts servers: set CRASH_SERVERS=1, or run make crash")
	}
	script := or(os.Getenv("CRASH_DATABASE"), "mysql")
	database := newServer(t, script, strings.ToUpper(script)+"_PORT", t.TempDir())
	broker := newServer(t, "kafka", "KAFKA_PORT", t.TempDir())
	seed, runs := crashSeed(t)
	var all report
	t.Cleanup(func() { all.print(script + " and Kafka") })
	for _, f := range sample(faults(away(t)), faultSample, seed) {
		for run := range runs {
			t.Run(fmt.Sprintf("%s/%d", f.name, run+1), func(t *testing.T) { all.add(t, f.run(t, seed+uint64(run), database, broker)) })
		}
	}
}

func (f fault) run(t *testing.T, seed uint64, database, broker *server) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	prefix := "t" + strings.ReplaceAll(uuid.NewString(), "-", "")[:12]
	s := stack{data: t.TempDir(), environ: []string{
		"MYSQL_DSN=root@tcp(" + database.address + ")/", "MYSQL_SCHEMA_PREFIX=" + prefix + "_",
		"KAFKA_BROKERS=" + broker.address, "KAFKA_TOPIC_PREFIX=" + prefix + ".",
	}}
	p := s.up(t, "--sample-stock=false")
	l := newLoad(p.url)
	l.pace = 50 * time.Millisecond
	l.start(ctx, seed, 0)
	throughAll(ctx, t, l, p)

	begin, before, logged := time.Now(), l.count(), len(p.log.String())
	f.inflict(t, database, broker)
	over := time.Now()
	during := l.count() - before
	throughAll(ctx, t, l, p)
	r := result{fault: f.name, settled: time.Since(over)}
	warnings, span := 0, time.Since(begin)
	for line := range strings.Lines(p.log.String()[logged:]) {
		if !strings.Contains(line, "level=INFO") {
			warnings++
		}
	}
	l.end()
	require.NoError(t, ctx.Err(), "the clients wait for their answers in vain")
	d := s.databases(t)
	_, v, err := l.settle(ctx, d, 2*time.Minute)
	d.close()
	require.NoError(t, err)
	p.audit(t)
	r.verdict = v
	r.back, _ = l.acceptedAfter(over)
	t.Logf("%d orders, %d of them accepted meanwhile, %d answers of 503; %d warnings in %s", len(l.placed), during, l.refused, warnings, span.Round(time.Millisecond))
	assert.Empty(t, l.broken)
	assert.Equal(t, http.StatusOK, p.get(t, "/health", nil))
	assert.NotContains(t, p.log.String(), "audit found a breach")
	assert.Less(t, float64(warnings), maxWarnings*span.Seconds(), "the log is bounded")
	if f.refuses {
		assert.Positive(t, l.refused, "refused clients are asked to retry")
	} else if !strings.HasPrefix(f.name, "database") {
		assert.Positive(t, during, "orders are accepted without a broker")
	}
	p.stop(t)
	return r
}

// count returns the number of accepted orders.
func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.accepted)
}
