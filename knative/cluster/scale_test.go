package cluster

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// burst is the number of concurrent orders.
const burst = 400

// TestABurstScalesOut sends concurrent orders to create-order, scaled from zero and again, with several values of
// containerConcurrency. It reports the number of pods, the confirmed orders per second, and the CPU time of each program.
func TestABurstScalesOut(t *testing.T) {
	long(t)
	c := open(t)
	await(t, 4*time.Minute, "create-order has no pod", func() bool { return len(pods(t, "create-order")) == 0 })
	for _, concurrency := range []int{32, 32, 8, 2} {
		t.Run(fmt.Sprintf("containerConcurrency %d", concurrency), func(t *testing.T) {
			bound(t, concurrency)
			watched, seen := context.WithCancel(t.Context())
			most := make(chan map[string]int, 1)
			go func() { most <- countPods(watched, t) }()
			before := processors(t)
			l := atOnce(t, c, "create-order", burst)
			accepted := time.Since(l.begin)
			l.confirmed(t)
			took := time.Since(l.begin)
			used := processors(t)
			seen()
			t.Logf("%d orders: accepted in %s (%.0f/s), all confirmed in %s (%.0f/s)", burst, accepted.Round(10*time.Millisecond),
				burst/accepted.Seconds(), took.Round(10*time.Millisecond), burst/took.Seconds())
			t.Logf("most pods: %v", <-most)
			t.Logf("seconds of processors: %s", table(before, used))
			l.settle(t)
		})
	}
}

// TestAClosedLoopIsConfirmed has clients place one order after the other. Pods start during the first loop. It reports the confirmed
// orders per second and the CPU time of each program.
func TestAClosedLoopIsConfirmed(t *testing.T) {
	long(t)
	c := open(t)
	for _, loop := range []struct{ clients, orders int }{{64, 2000}, {16, 2000}, {64, 5000}} {
		t.Run(fmt.Sprintf("%d clients, %d orders", loop.clients, loop.orders), func(t *testing.T) {
			before := processors(t)
			l := inTurn(t, c, loop.clients, loop.orders)
			accepted := time.Since(l.begin)
			nonePending(t, c)
			took := time.Since(l.begin)
			used := processors(t)
			t.Logf("accepted in %s (%.0f/s), all ended in %s (%.0f/s)", accepted.Round(10*time.Millisecond), float64(loop.orders)/accepted.Seconds(),
				took.Round(10*time.Millisecond), float64(loop.orders)/took.Seconds())
			t.Logf("seconds of processors: %s", table(before, used))
			l.settle(t)
		})
	}
}

// bound sets the containerConcurrency of all functions that an order passes.
func bound(t *testing.T, concurrency int) {
	t.Helper()
	for _, service := range append([]string{"create-order"}, inPods...) {
		kubectl(t, "patch", "ksvc", service, "-n", "orders", "--type", "merge", "-p",
			fmt.Sprintf(`{"spec":{"template":{"spec":{"containerConcurrency":%d}}}}`, concurrency))
	}
	kubectl(t, "wait", "-n", "orders", "ksvc", "--all", "--for", "condition=Ready", "--timeout", "5m")
}

// countPods returns the highest number of pods of each Service, until ctx ends.
func countPods(ctx context.Context, t *testing.T) map[string]int {
	t.Helper()
	most := map[string]int{}
	for ctx.Err() == nil {
		now := map[string]int{}
		names, err := command(t, "kubectl", "get", "pods", "-n", "orders", "--field-selector", "status.phase=Running", "-o",
			`go-template={{range .items}}{{index .metadata.labels "serving.knative.dev/service"}} {{end}}`)
		if err != nil {
			t.Error(err)
			return most
		}
		for _, name := range strings.Fields(names) {
			now[name]++
		}
		for name, n := range now {
			most[name] = max(most[name], n)
		}
	}
	return most
}

// processors returns the CPU seconds of the kernel and of the cluster's programs, by name.
func processors(t *testing.T) map[string]float64 {
	t.Helper()
	network, err := os.Readlink("/proc/self/ns/net") // of the node
	require.NoError(t, err)
	used := map[string]float64{}
	processes, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(t, err)
	for _, process := range processes {
		_, program := os.Readlink(process + "/exe") // the kernel's threads have none
		at, _ := os.Readlink(process + "/ns/net")
		group, _ := os.ReadFile(process + "/cgroup")
		text, err := os.ReadFile(process + "/stat")
		if err != nil || (program == nil && at != network && !bytes.Contains(group, []byte("kubepods"))) {
			continue // it has ended, or is not of the cluster
		}
		begin, end := strings.IndexByte(string(text), '('), strings.LastIndexByte(string(text), ')')
		name := string(text[begin+1 : end])
		if strings.HasPrefix(name, "kworker/") {
			name = "kworker" // the rest changes with what a kernel thread does
		}
		fields := strings.Fields(string(text[end+1:]))
		for _, ticks := range fields[11:13] { // utime and stime, in hundredths
			n, err := strconv.ParseFloat(ticks, 64)
			require.NoError(t, err)
			used[name] += n / 100
		}
	}
	return used
}

// table lists the programs' use in between, highest first.
func table(before, after map[string]float64) string {
	used := map[string]float64{}
	for name := range after {
		used[name] = after[name] - before[name]
	}
	names := slices.SortedFunc(maps.Keys(used), func(a, b string) int { return cmp.Compare(used[b], used[a]) })
	var lines []string
	for _, name := range names[:min(12, len(names))] {
		lines = append(lines, fmt.Sprintf("%s %.1f", name, used[name]))
	}
	return strings.Join(lines, ", ")
}
