package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/operate/bench"
	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/functions/internal/testkit/mysqltest"
)

// runBench runs bench as a process and reads its JSON.
func runBench(t *testing.T, environ []string, into any, args ...string) *process {
	t.Helper()
	b := launch(t, environ, append([]string{"bench", "--json", "--warmup", "10"}, args...)...)
	<-b.ended
	require.NoError(t, b.err, b.log.String())
	require.NoError(t, json.Unmarshal(b.stdout.Bytes(), into), b.stdout.String())
	return b
}

func TestBenchMeasuresTheHarnessThatRuns(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	p := s.up(t)
	plot := filepath.Join(t.TempDir(), "plot.svg")
	var r bench.Report

	b := runBench(t, s.environ, &r, "--running", "--data", s.data, "--orders", "100", "--concurrency", "8", "--skus", "20", "--skew", "1", "--plot", plot)

	assert.Equal(t, []int{100, 100, 0, 0}, []int{r.Accepted, r.Confirmed, r.Failed, r.Lost})
	assert.False(t, r.Stack.Started)
	assert.Equal(t, []int{1, 3}, []int{r.Stack.Members, r.Stack.Partitions}, "what the manifests say")
	assert.Equal(t, p.url, r.Stack.API)
	assert.Positive(t, r.ConfirmedPerSecond)
	assert.GreaterOrEqual(t, r.AcceptedPerSecond, r.ConfirmedPerSecond)
	assert.Equal(t, int64(100), r.Post.Count)
	assert.Equal(t, int64(100), r.PostToConfirmed.Count)
	assert.Less(t, r.Post.P50, r.PostToConfirmed.P50)
	assert.Equal(t, int64(100), r.Relayed.Count)
	assert.GreaterOrEqual(t, r.Outbox.Count, int64(200), "order.created, inventory.reserved and most of order.confirmed")
	assert.Positive(t, r.Usage.PerThousand)
	assert.Positive(t, r.Usage.HarnessMiB)
	assert.Positive(t, r.PerOrder.Status["Com_commit"])
	assert.Nil(t, r.Floor)
	require.NotNil(t, r.Audit)
	assert.Zero(t, r.Audit.Breaches())
	assert.NotEmpty(t, r.Audit.Invariants)
	assert.FileExists(t, plot)
	assert.Equal(t, 110*2, p.reservedInAll(t), "the warm-up is not measured")
	assert.Contains(t, b.log.String(), "by bench@example.com, and the SKUs, BENCH-0 to BENCH-19 with 1000000000 units each, are in the harness at "+p.url+", where they stay")
}

// assertStored checks when confirmations were committed, by the log. The line of the last one may be written after the report.
func assertStored(t *testing.T, r *bench.Report) {
	t.Helper()
	assert.GreaterOrEqual(t, r.PostToStored.Count, int64(r.Confirmed-1))
	assert.Greater(t, r.PostToStored.P50, r.Post.P50/2)
	assert.Less(t, r.PostToStored.P50, r.PostToConfirmed.Max)
}

func TestBenchStartsAHarnessOfItsOwnAndLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	temporary := t.TempDir()
	var r bench.Report

	b := runBench(t, append(s.environ, "TMPDIR="+temporary), &r,
		"--orders", "100", "--rate", "200", "--skus", "1", "--floor", "--floor-for", "100ms")

	assert.Equal(t, []int{100, 100, 0, 0}, []int{r.Accepted, r.Confirmed, r.Failed, r.Lost})
	assert.True(t, r.Stack.Started)
	assertStored(t, &r)
	assert.Equal(t, 1, r.Stack.Flush, "durable at every commit")
	require.NotNil(t, r.Floor)
	assert.Positive(t, r.Floor.Before.Orders.PerSecond)
	assert.Positive(t, r.Floor.After.Produce.PerSecond)
	assert.InEpsilon(t, r.ConfirmedPerSecond/r.Floor.Mean.Orders.PerSecond, r.Ratio, 1e-9)
	assert.InEpsilon(t, r.Post.P50/r.Floor.Mean.One.Latency.P50, r.PostRatio, 1e-9)
	assert.Contains(t, b.log.String(), "starting a harness")
	assert.Contains(t, b.log.String(), "BENCH-0 with 1000000000 units each, are in "+temporary)
	assert.Contains(t, b.log.String(), "are removed with that now")
	left, err := os.ReadDir(temporary)
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestBenchTracesACurve(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.up(t)
	plot := filepath.Join(t.TempDir(), "curve.svg")
	var c bench.Curve

	runBench(t, s.environ, &c, "--running", "--data", s.data, "--curve", "--curve-for", "100ms", "--orders", "50", "--plot", plot)

	assert.Positive(t, c.Capacity)
	require.Len(t, c.Points, 10)
	for _, p := range c.Points {
		assert.InEpsilon(t, c.Capacity*p.Share, p.Offered, 1e-9)
		assert.Positive(t, p.Confirmed)
		assert.Equal(t, p.Post.Count, p.PostToConfirmed.Count, "each accepted order is confirmed")
	}
	require.NotNil(t, c.Audit)
	assert.Zero(t, c.Audit.Breaches())
	assert.FileExists(t, plot)
}

func TestBenchKeepsTheDataFolderThatItIsGiven(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	require.NoError(t, os.Chmod(s.data, 0o755)) // as mkdir makes it
	var r bench.Report

	b := runBench(t, s.environ, &r, "--data", s.data, "--orders", "20")

	assert.True(t, r.Stack.Started)
	assert.Contains(t, b.log.String(), "where they stay: harness up --data "+s.data+" shows them")
	p := s.up(t)
	assert.Equal(t, 30*2, p.reservedInAll(t))
}

// reservedInAll counts the units that are reserved of any SKU.
func (p *process) reservedInAll(t *testing.T) (sum int) {
	t.Helper()
	var page struct {
		Inventory []level `json:"inventory"`
		Next      string  `json:"next"`
	}
	for path := "/api/inventory?limit=1000"; path != ""; path = page.Next {
		page.Next = ""
		require.Equal(t, http.StatusOK, p.get(t, path, &page))
		for _, l := range page.Inventory {
			sum += l.ReservedQty
		}
	}
	return sum
}

func TestBenchDrainsABacklog(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.up(t)
	var drained bench.Backlog

	runBench(t, s.environ, &drained, "--running", "--data", s.data, "--backlog", "2000")

	assert.Equal(t, 2000, drained.Rows)
	assert.Positive(t, drained.PerSecond)
}

func TestBenchMakesAsManyPartitionsAsItIsAskedFor(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs a database server: run without -short")
	}
	cluster, server := kafkatest.ForProcesses(t), mysqltest.Empty(t)
	environ := append(cluster.Environ(), "MYSQL_DSN="+server.DSN, "MYSQL_SCHEMA_PREFIX="+or(server.Prefix, "sized_"))
	var r bench.Report

	runBench(t, environ, &r, "--data", t.TempDir(), "--orders", "50", "--partitions", "5")

	assert.Equal(t, 50, r.Confirmed)
	assert.Equal(t, 5, r.Stack.Partitions)

	// The topics are there now, and Kafka could only add to them.
	b := launch(t, environ, "bench", "--data", t.TempDir(), "--orders", "50", "--partitions", "2")
	<-b.ended
	require.Error(t, b.err)
	assert.Contains(t, b.log.String(), "is there already and has 5")
}

func TestBenchStartsMembersThatShareTheLoad(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs a database server: run without -short")
	}
	cluster, server := kafkatest.ForProcesses(t), mysqltest.Empty(t)
	temporary := t.TempDir()
	// bench gives the stack a prefix of its own.
	environ := append(cluster.Environ(), "MYSQL_DSN="+server.DSN, "KAFKA_TOPIC_PREFIX=", "TMPDIR="+temporary)
	var r bench.Report

	b := runBench(t, environ, &r, "--orders", "60", "--members", "2", "--partitions", "4")

	assert.Equal(t, []int{60, 60, 0, 0}, []int{r.Accepted, r.Confirmed, r.Failed, r.Lost})
	assert.Equal(t, []int{2, 4}, []int{r.Stack.Members, r.Stack.Partitions})
	assert.Len(t, strings.Split(r.Stack.API, ","), 2)
	assert.Equal(t, 2, strings.Count(b.log.String(), "starting a harness"))
	require.NotNil(t, r.Audit)
	assert.Zero(t, r.Audit.Breaches())
	left, err := os.ReadDir(temporary)
	require.NoError(t, err)
	assert.Empty(t, left)

	var drained bench.Backlog
	runBench(t, environ, &drained, "--backlog", "500", "--members", "2")
	assert.Equal(t, 500, drained.Rows)
	assert.Equal(t, 2, drained.Stack.Members)
}

func TestBenchSaysWhatMembersNeed(t *testing.T) {
	t.Parallel()
	for name, environ := range map[string][]string{
		"no servers":  {"MYSQL_DSN=", "KAFKA_BROKERS="},
		"no brokers":  {"MYSQL_DSN=root@tcp(127.0.0.1:1)/", "KAFKA_BROKERS="},
		"no database": {"MYSQL_DSN=", "KAFKA_BROKERS=127.0.0.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := launch(t, environ, "bench", "--members", "2")
			<-b.ended
			require.Error(t, b.err)
			assert.Contains(t, b.log.String(), "set MYSQL_DSN and KAFKA_BROKERS")
			assert.NotContains(t, b.log.String(), "starting a harness")
		})
	}
}

func TestBenchRefusesToResizeAStackThatRuns(t *testing.T) {
	t.Parallel()
	for _, flag := range []string{"--partitions=1", "--members=1", "--deployed", "--pprof"} {
		err := run(t.Context(), []string{"bench", "--running", "--data", t.TempDir(), flag}, streams{io.Discard, io.Discard})
		require.ErrorContains(t, err, "for a stack that bench starts")
		assert.Equal(t, exitUsage, exitCode(err))
	}
}

func TestBenchPlacesNoOrdersInTheDataOfOthersUnlessToldTo(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	p := s.up(t)
	bench := func() string {
		b := launch(t, s.environ, "bench", "--data", s.data, "--orders", "1")
		<-b.ended
		require.Error(t, b.err)
		assert.NotContains(t, b.log.String(), "starting a harness")
		return b.log.String()
	}

	assert.Contains(t, bench(), "add --running")
	var page struct{ Orders []order }
	require.Equal(t, http.StatusOK, p.get(t, "/api/orders", &page))
	assert.Empty(t, page.Orders)

	p.stop(t)
	assert.Contains(t, bench(), s.data+" is not empty", "a stopped harness comes back to its data")
}

func TestBenchKeepsAStackOnServersOnlyUnderAPrefixOfItsOwn(t *testing.T) {
	for server, prefix := range map[string]string{"MYSQL_DSN": "MYSQL_SCHEMA_PREFIX", "KAFKA_BROKERS": "KAFKA_TOPIC_PREFIX"} {
		t.Run(server, func(t *testing.T) {
			for _, name := range []string{"MYSQL_DSN", "MYSQL_SCHEMA_PREFIX", "KAFKA_BROKERS", "KAFKA_TOPIC_PREFIX"} {
				t.Setenv(name, "")
			}
			t.Setenv(server, "a server that others use")
			err := run(t.Context(), []string{"bench", "--data", t.TempDir()}, streams{io.Discard, io.Discard})
			require.ErrorContains(t, err, "set "+prefix)
			assert.Equal(t, exitUsage, exitCode(err))
		})
	}
}

func TestBenchThatGivesUpNamesTheDeadLetters(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.up(t, "--chaos", "poison=1", "--chaos-function", "reserve-stock")

	b := launch(t, s.environ, "bench", "--running", "--data", s.data, "--warmup", "0", "--orders", "7", "--skus", "3", "--patience", "2s")
	<-b.ended

	assert.Equal(t, exitFinding, b.exitCode(t), b.log.String())
	assert.Contains(t, b.log.String(), "accepted orders have not ended: 7")
	assert.Contains(t, b.log.String(), "\n7 dead letters of reserve-stock: ")
	assert.Contains(t, b.log.String(), "chaos: called poison on purpose")
}

func TestBenchRefusesALoadThatMakesNoSense(t *testing.T) {
	t.Parallel()
	b := launch(t, nil, "bench", "--orders", "0", "--skew", "-1", "--partitions", "0", "--members", "0")
	<-b.ended
	require.Error(t, b.err)
	assert.Contains(t, b.log.String(), "--orders 0")
	assert.Contains(t, b.log.String(), "--skew -1")
	assert.Contains(t, b.log.String(), "--partitions 0: give 1 to")
	assert.Contains(t, b.log.String(), "--members 0: give 1 to")
	assert.NotContains(t, b.log.String(), "starting a harness")
}
