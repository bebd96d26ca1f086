package cluster

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rate is the number of orders per second during a fault.
const rate = 10

// inPods are the Services whose pods get faults; each order passes all of them.
var inPods = []string{"orders-api", "publish-outbox-orders", "reserve-stock", "publish-outbox-inventory", "finalize-order", "notify"}

func TestARolloutUnderLoadLosesNothing(t *testing.T) {
	long(t)
	c := open(t)
	c.deploy(t, "previous")
	l := start(t, c, rate)
	l.more(t, 5*rate)

	c.deploy(t, "local")
	l.more(t, 5*rate)

	l.stop(t)
}

func TestPodsThatAreDeletedUnderLoadLoseNothing(t *testing.T) {
	c := open(t)
	l := start(t, c, rate)
	l.more(t, 5*rate)
	for range 2 {
		for _, service := range inPods {
			for _, pod := range pods(t, service) {
				kubectl(t, "delete", "pod", pod, "-n", "orders", "--wait=false")
			}
			l.more(t, rate)
		}
	}
	l.stop(t)
}

// process returns the process of a pod's function.
func process(t *testing.T, pod string) int {
	t.Helper()
	id := kubectl(t, "get", "pod", pod, "-n", "orders", "-o", `jsonpath={.status.containerStatuses[?(@.name=="user-container")].containerID}`)
	tasks, err := command(t, "ctr", "-a", path("run", "containerd.sock"), "-n", "k8s.io", "tasks", "list")
	require.NoError(t, err)
	for line := range strings.Lines(tasks) {
		if fields := strings.Fields(line); len(fields) > 1 && id == "containerd://"+fields[0] {
			pid, err := strconv.Atoi(fields[1])
			require.NoError(t, err)
			return pid
		}
	}
	return 0 // the container has ended
}

func signal(t *testing.T, pid int, s syscall.Signal) {
	t.Helper()
	if pid != 0 {
		if err := syscall.Kill(pid, s); err != syscall.ESRCH {
			require.NoError(t, err)
		}
	}
}

func TestProcessesThatAreKilledUnderLoadLoseNothing(t *testing.T) {
	long(t)
	c := open(t)
	l := start(t, c, rate)
	l.more(t, 5*rate)
	for range 2 {
		for _, service := range inPods {
			for _, pod := range pods(t, service) {
				signal(t, process(t, pod), syscall.SIGKILL)
			}
			l.more(t, rate)
		}
	}
	l.stop(t)
}

// TestAFunctionThatHangsIsReplaced freezes a function that an order must pass: its liveness probe fails, and Knative waits
// for the request timeout before it restarts the container.
func TestAFunctionThatHangsIsReplaced(t *testing.T) {
	long(t)
	c := open(t)
	id := c.place(t, "SKU-1", 1)
	await(t, 2*time.Minute, "the function has a pod", func() bool { return c.status(t, id) == "CONFIRMED" })
	for _, pod := range pods(t, "finalize-order") {
		signal(t, process(t, pod), syscall.SIGSTOP)
	}
	begin := time.Now()
	id = c.place(t, "SKU-1", 1)
	await(t, 4*time.Minute, "an order passes again", func() bool { return c.status(t, id) == "CONFIRMED" })
	t.Logf("finalize-order was away for %s", time.Since(begin).Round(time.Second))
	audit(t)
}

func TestANodeUnderPressureLosesNothing(t *testing.T) {
	long(t)
	c := open(t)
	l := start(t, c, rate)
	l.more(t, 5*rate)
	apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: hog, namespace: kafka}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: hog, image: "dev.local/pod:1", args: [hog, "4", "1024"]}]
`)
	t.Cleanup(func() { kubectl(t, "delete", "pod", "hog", "-n", "kafka", "--ignore-not-found") })
	kubectl(t, "wait", "-n", "kafka", "pod/hog", "--for", "condition=Ready", "--timeout", "1m")
	l.more(t, 10*rate)
	kubectl(t, "delete", "pod", "hog", "-n", "kafka")
	l.stop(t)
}

// database returns the process of the server.
func database(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(path("mariadb", "pid"))
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	return pid
}

func TestADatabaseThatIsFrozenLosesNothing(t *testing.T) {
	long(t)
	c := open(t)
	l := start(t, c, rate)
	l.more(t, 5*rate)

	pid := database(t)
	signal(t, pid, syscall.SIGSTOP)
	t.Cleanup(func() { signal(t, pid, syscall.SIGCONT) })
	begin := time.Now()
	await(t, time.Minute, "the freeze is over", func() bool { return time.Since(begin) > 40*time.Second })
	signal(t, pid, syscall.SIGCONT)

	l.more(t, 5*rate)
	l.stop(t)
}

// TestADatabaseThatFailsOverLosesNothing kills the server; another one takes over its data at another address, and the
// Service leads there from then on.
func TestADatabaseThatFailsOverLosesNothing(t *testing.T) {
	long(t)
	c := open(t)
	l := start(t, c, rate)
	l.more(t, 5*rate)

	for _, port := range []string{"23107", "23106"} {
		begin := time.Now()
		_, err := command(t, "../../.ci/cluster/servers", "fail-over", port)
		require.NoError(t, err)
		l.more(t, 1)
		t.Logf("orders were taken again %s after the kill", time.Since(begin).Round(100*time.Millisecond))
		l.more(t, 5*rate)
	}
	l.stop(t)
}

// TestDeadLettersAreReplayedFromInside deploys a wrong image: the events that it refuses become dead letters, and are
// replayed once the right image is back.
func TestDeadLettersAreReplayedFromInside(t *testing.T) {
	c := open(t)
	image := func(of string) {
		kubectl(t, "patch", "ksvc", "reserve-stock", "-n", "orders", "--type", "json", "-p",
			`[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"dev.local/`+of+`:current"}]`)
		kubectl(t, "wait", "-n", "orders", "ksvc/reserve-stock", "--for", "condition=Ready", "--timeout", "3m")
	}
	image("release-stock") // of the same schema, since the user of reserve-stock may use no other
	// Requests reach the old pods until those are gone.
	await(t, 3*time.Minute, "the right image has gone", func() bool {
		return !strings.Contains(kubectl(t, "get", "pods", "-n", "orders", "-l", "serving.knative.dev/service=reserve-stock",
			"-o", "jsonpath={.items[*].spec.containers[0].image}"), "reserve-stock")
	})
	ids := []string{c.place(t, "SKU-1", 1), c.place(t, "SKU-2", 1)}
	var log string
	await(t, 3*time.Minute, "both events are set aside", func() bool {
		log, _ = harness(t, "deadletters", "list", "--consumer", "reserve-stock")
		return strings.Contains(log, "\n2 letters")
	})
	t.Log(log)
	image("reserve-stock")

	log, done := harness(t, "deadletters", "replay", "--consumer", "reserve-stock", "--dry-run")
	assert.True(t, done, log)
	for _, id := range ids {
		assert.Equal(t, "PENDING", c.status(t, id), "a dry run sends nothing")
	}
	log, done = harness(t, "deadletters", "replay", "--consumer", "reserve-stock")
	assert.True(t, done, log)
	for _, id := range ids {
		await(t, time.Minute, "the order goes on", func() bool { return c.status(t, id) == "CONFIRMED" })
	}
	audit(t)
}
