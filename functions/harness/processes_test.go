package main

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions"
	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/operate/bench"
	"example.com/orders/knative"
)

func newTestProcesses(t *testing.T) (*processes, *knative.Wiring) {
	t.Helper()
	wiring, err := knative.Configured(nil)
	require.NoError(t, err)
	p, err := newProcesses(wiring.Services, nil, t.TempDir(), false, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(p.close)
	return p, wiring
}

// environOf is the environment of the process of a Service.
func environOf(t *testing.T, p *processes, wiring *knative.Wiring, name string, config map[string]string) map[string]string {
	t.Helper()
	for _, s := range wiring.Services {
		if s.Name == name {
			environ, err := p.environ(s, config)
			require.NoError(t, err)
			return environ
		}
	}
	require.Fail(t, "no such Service", name)
	return nil
}

func TestProcessesGetTheEnvironmentOfTheirManifestWithAddressesOfThisMachine(t *testing.T) {
	p, wiring := newTestProcesses(t)
	config := map[string]string{"MYSQL_DSN": "root@tcp(127.0.0.1:3306)/", "KAFKA_BROKERS": "127.0.0.1:9092", "LISTEN_ADDRESS": ":8080"}

	for name, relay := range map[string]string{"reserve-stock": "publish-outbox-inventory", "finalize-order": "publish-outbox-orders"} {
		environ := environOf(t, p, wiring, name, config)
		assert.Equal(t, "http://"+p.addresses[relay], environ["OUTBOX_POKE_URL"], name)
		assert.Equal(t, p.addresses[name], environ["LISTEN_ADDRESS"], name)
		assert.Equal(t, config["MYSQL_DSN"], environ["MYSQL_DSN"], name)
	}
	relay := environOf(t, p, wiring, "publish-outbox-orders", config)
	assert.Equal(t, []string{"orders", "127.0.0.1:9092"}, []string{relay["OUTBOX_SCHEMA"], relay["KAFKA_BROKERS"]})
	assert.Equal(t, "1s", environOf(t, p, wiring, "expire-orders", map[string]string{"SAGA_TIMEOUT": "1s"})["SAGA_TIMEOUT"], "the environment overrides the manifest")

	_, err := p.environ(knative.Service{Name: "reserve-stock", Env: map[string]string{"OUTBOX_POKE_URL": "http://relay.orders.svc.cluster.local"}}, nil)
	assert.ErrorContains(t, err, `there is no Service "relay"`)
}

func TestAPortIsReservedUntilItIsReleased(t *testing.T) {
	p, wiring := newTestProcesses(t)
	different := map[string]bool{}
	for _, address := range p.addresses {
		different[address] = true
	}
	assert.Len(t, different, len(wiring.Services))
	for range 2 * benchPorts {
		address, release, err := reserveAddress()
		require.NoError(t, err)
		release()
		require.NotContains(t, different, address)
	}
}

// remoteAt is a function that takes events, with a server in the place of its process.
func remoteAt(t *testing.T, answer http.HandlerFunc) *remoteConsumer {
	t.Helper()
	p, _ := newTestProcesses(t)
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	p.addresses["notify"] = strings.TrimPrefix(server.URL, "http://")
	return p.remote(knative.Service{Name: "notify", Function: "notify"}, functions.Catalogue["notify"]()).(*remoteConsumer)
}

func TestTheAnswerOfAProcessIsJudgedAsThatOfAFunctionInThisOne(t *testing.T) {
	e := event.New()
	e.SetID("1")
	e.SetType("order.confirmed")
	e.SetSource("/orders")
	for status, verdict := range map[int]delivery.Verdict{
		http.StatusOK: delivery.Acknowledge, http.StatusNoContent: delivery.Acknowledge,
		http.StatusServiceUnavailable: delivery.Retry, http.StatusInternalServerError: delivery.Retry, http.StatusTooManyRequests: delivery.Retry,
		http.StatusUnprocessableEntity: delivery.DeadLetter, http.StatusBadRequest: delivery.DeadLetter,
	} {
		r := remoteAt(t, func(w http.ResponseWriter, r *http.Request) {
			assert.Equal(t, "order.confirmed", r.Header.Get("Ce-Type"))
			w.WriteHeader(status)
			if status >= http.StatusMultipleChoices {
				_, _ = io.WriteString(w, "a reason\n")
			}
		})
		err := r.Handle(t.Context(), e)
		assert.Equal(t, verdict, delivery.Judge(delivery.Status(err)), "%d: %v", status, err)
		if verdict != delivery.Acknowledge {
			assert.Equal(t, "a reason", delivery.Reason(err), "it is in the dead letter")
		}
	}
	gone := remoteAt(t, nil)
	gone.address = gone.addresses["cancel-order"] // nobody listens there
	assert.Equal(t, delivery.Retry, delivery.Judge(delivery.Status(gone.Handle(t.Context(), e))))
}

func TestCommandsFindTheProcessesOfAHarnessUntilItEnds(t *testing.T) {
	folder := t.TempDir()
	require.NoError(t, writeRun(folder, runFile{PID: 10, Functions: map[string]int{"notify": 12, "cancel-order": 11}}))
	run, err := readRun(folder)
	require.NoError(t, err)
	assert.Equal(t, []bench.Process{{PID: 10}, {Function: "cancel-order", PID: 11}, {Function: "notify", PID: 12}}, run.processes())

	require.NoError(t, forget(folder))
	run, err = readRun(folder)
	require.NoError(t, err)
	assert.Empty(t, run.Functions)
}

// mark is a variable by which a test knows the processes that it has started, and those that they have.
func mark() string { return "HARNESS_TEST_MARK=" + uuid.NewString() }

// marked lists the commands of the processes that have a mark and run.
func marked(t *testing.T, mark string) (commands []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	require.NoError(t, err)
	if len(all) == 0 {
		t.Skip("the system does not list processes in /proc")
	}
	for _, path := range all {
		environ, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(environ), mark) {
			continue // it has ended, is another user's, or has no mark
		}
		command, err := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		if err == nil && len(command) > 0 {
			commands = append(commands, strings.ReplaceAll(string(command), "\x00", " "))
		}
	}
	return commands
}

// runningFunctions counts those of functions.
func runningFunctions(t *testing.T, mark string) (n int) {
	t.Helper()
	for _, command := range marked(t, mark) {
		if strings.Contains(command, " function --name ") {
			n++
		}
	}
	return n
}

// awaitNone waits until no process has the mark: the sleep of the shell that guarded a database outlives it by a tenth of a
// second.
func awaitNone(t *testing.T, mark string) {
	t.Helper()
	var left []string
	defer func() { assert.Empty(t, left) }()
	witness.await(t, "all processes have ended", func() bool {
		left = marked(t, mark)
		return len(left) == 0
	})
}

// witness is a process that never ends: it waits for what others do.
var witness = &process{ended: make(chan struct{})}

func TestBenchRunsEachFunctionAsAProcessAndLeavesNoneBehind(t *testing.T) {
	t.Parallel()
	s, temporary, mark := newStack(t), t.TempDir(), mark()
	wiring, err := knative.Configured(nil)
	require.NoError(t, err)
	var r bench.Report

	runBench(t, append(s.environ, "TMPDIR="+temporary, mark), &r, "--deployed", "--ephemeral", "--orders", "100", "--concurrency", "16")

	assert.Equal(t, []int{100, 100, 0, 0}, []int{r.Accepted, r.Confirmed, r.Failed, r.Lost})
	assertStored(t, &r)
	assert.Equal(t, len(wiring.Services), r.Stack.Functions)
	assert.Len(t, r.Usage.FunctionSeconds, len(wiring.Services))
	assert.Positive(t, r.Usage.FunctionSeconds["orders-api"])
	assert.Greater(t, r.Usage.HarnessSeconds, r.Usage.FunctionSeconds["orders-api"], "all processes")
	require.NotNil(t, r.Audit)
	assert.Zero(t, r.Audit.Breaches())
	left, err := os.ReadDir(temporary)
	require.NoError(t, err)
	assert.Empty(t, left)
	awaitNone(t, mark)
}

func TestBenchEndsItsProcessesWhenItIsInterrupted(t *testing.T) {
	t.Parallel()
	s, temporary, mark := newStack(t), t.TempDir(), mark()
	b := launchAs(t, &syscall.SysProcAttr{Setpgid: true}, append(s.environ, "TMPDIR="+temporary, mark), "bench", "--deployed", "--orders", "1000000", "--warmup", "10")
	b.awaitLog(t, " of 1000000 answered")
	require.NotZero(t, runningFunctions(t, mark))

	require.NoError(t, syscall.Kill(-b.cmd.Process.Pid, syscall.SIGINT)) // to its group, as a terminal does
	<-b.ended

	require.Error(t, b.err)
	assert.NotContains(t, b.log.String(), "ended badly")
	awaitNone(t, mark)
	left, err := os.ReadDir(temporary)
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestProcessesAreGivenEventsAtOnceAndTakeThem(t *testing.T) {
	t.Parallel()
	p := newStack(t).up(t, "--deployed")

	p.awaitStatus(t, p.place(t, "SKU-123", 1).OrderID, "CONFIRMED")

	assert.NotContains(t, p.log.String(), "delivery failed")
	p.audit(t)
}

func TestFunctionsEndWithTheHarnessThatIsKilled(t *testing.T) {
	t.Parallel()
	s, mark := newStack(t), mark()
	s.environ = append(s.environ, mark)
	p := s.up(t, "--deployed")
	require.NotZero(t, runningFunctions(t, mark))

	p.kill(t)

	awaitNone(t, mark)
}

func TestAFunctionWhoseProcessEndsIsNamed(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	p := s.up(t, "--deployed")
	run, err := readRun(s.data)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(run.Functions["notify"], syscall.SIGKILL))

	// Until the harness has waited for the process, the function is only one that cannot be reached.
	p.await(t, "the process that has ended is named", func() bool {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+"/health", nil)
		require.NoError(t, err)
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		health, err := io.ReadAll(response.Body)
		require.NoError(t, errors.Join(err, response.Body.Close()))
		return response.StatusCode == http.StatusServiceUnavailable && strings.Contains(string(health), `"notify":"its process has ended (signal: killed), see `)
	})

	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	<-p.ended
	require.Error(t, p.err)
	assert.Contains(t, p.log.String(), "stop notify: its process has ended by itself: signal: killed")
}
