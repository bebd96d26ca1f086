package main

import (
	"encoding/json"
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

	runBench(t, s.environ, &r, "--data", s.data, "--orders", "100", "--concurrency", "8", "--skus", "20", "--skew", "1", "--plot", plot)

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
}

func TestBenchStartsAHarnessOfItsOwnAndLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	temporary := t.TempDir()
	var r bench.Report

	b := runBench(t, append(s.environ, "TMPDIR="+temporary), &r,
		"--ephemeral", "--orders", "100", "--rate", "200", "--skus", "1", "--floor", "--floor-for", "100ms")

	assert.Equal(t, []int{100, 100, 0, 0}, []int{r.Accepted, r.Confirmed, r.Failed, r.Lost})
	assert.True(t, r.Stack.Started)
	assert.Equal(t, 1, r.Stack.Flush, "durable at every commit")
	require.NotNil(t, r.Floor)
	assert.Positive(t, r.Floor.Before.Orders.PerSecond)
	assert.Positive(t, r.Floor.After.Produce.PerSecond)
	assert.InEpsilon(t, r.ConfirmedPerSecond/r.Floor.Mean.Orders.PerSecond, r.Ratio, 1e-9)
	assert.InEpsilon(t, r.Post.P50/r.Floor.Mean.One.Latency.P50, r.PostRatio, 1e-9)
	assert.Contains(t, b.log.String(), "starting a harness")
	left, err := os.ReadDir(temporary)
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestBenchKeepsTheDataFolderThatItIsGiven(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	var r bench.Report

	runBench(t, s.environ, &r, "--data", s.data, "--orders", "20")

	assert.True(t, r.Stack.Started)
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

	runBench(t, s.environ, &drained, "--data", s.data, "--backlog", "2000")

	assert.Equal(t, 2000, drained.Rows)
	assert.Positive(t, drained.PerSecond)
}

func TestBenchMakesAsManyPartitionsAsItIsAskedFor(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	var r bench.Report

	runBench(t, s.environ, &r, "--data", s.data, "--orders", "50", "--partitions", "5")

	assert.Equal(t, 50, r.Confirmed)
	assert.Equal(t, 5, r.Stack.Partitions)

	// The topics are there now, and Kafka could only add to them.
	b := launch(t, s.environ, "bench", "--data", s.data, "--orders", "50", "--partitions", "2")
	<-b.ended
	require.Error(t, b.err)
	assert.Contains(t, b.log.String(), "is there already and has 5")
}

func TestBenchStartsMembersThatShareTheLoad(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs a database server: run without -short")
	}
	cluster, server := kafkatest.Start(t), mysqltest.Empty(t)
	temporary := t.TempDir()
	environ := []string{"MYSQL_DSN=" + server.DSN, "KAFKA_BROKERS=" + strings.Join(cluster.Brokers, ","), "TMPDIR=" + temporary}
	var r bench.Report

	b := runBench(t, environ, &r, "--ephemeral", "--orders", "60", "--members", "2", "--partitions", "4")

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
	runBench(t, environ, &drained, "--ephemeral", "--backlog", "500", "--members", "2")
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
			b := launch(t, environ, "bench", "--ephemeral", "--members", "2")
			<-b.ended
			require.Error(t, b.err)
			assert.Contains(t, b.log.String(), "set MYSQL_DSN and KAFKA_BROKERS")
			assert.NotContains(t, b.log.String(), "starting a harness")
		})
	}
}

func TestBenchRefusesToResizeAStackThatRuns(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.up(t)
	for _, flag := range []string{"--partitions=1", "--members=1", "--deployed"} {
		b := launch(t, s.environ, "bench", "--data", s.data, flag)
		<-b.ended
		require.Error(t, b.err)
		assert.Contains(t, b.log.String(), "for a stack that bench starts")
	}
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
