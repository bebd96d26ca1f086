package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/bench"
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

func TestBenchRefusesALoadThatMakesNoSense(t *testing.T) {
	t.Parallel()
	b := launch(t, nil, "bench", "--orders", "0", "--skew", "-1")
	<-b.ended
	require.Error(t, b.err)
	assert.Contains(t, b.log.String(), "--orders 0")
	assert.Contains(t, b.log.String(), "--skew -1")
	assert.NotContains(t, b.log.String(), "starting a harness")
}
