package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/createorder"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/openapitest"
	"example.com/orders/functions/internal/testkit/porttest"
	"example.com/orders/sql/privilege"
)

// asHarness makes the test binary the harness, so that tests run it as a process that can be killed.
const asHarness = "HARNESS_TEST_IS_HARNESS"

// atOnce is how many tests run at a time, unless -parallel says it: they spend most of their time waiting for processes.
const atOnce = "4"

func TestMain(m *testing.M) {
	if os.Getenv(asHarness) != "" {
		syscall.Umask(0) // the harness itself must protect what is private
		main()
		return
	}
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		if err := flag.Set("test.parallel", atOnce); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// stack has the data of one test's harnesses: in a folder, or on the servers of the environment with its own prefixes.
type stack struct {
	data    string
	environ []string
}

func newStack(t testing.TB) stack {
	t.Helper()
	s := withoutKafka(t)
	if kafkatest.Given() {
		s.environ = append(s.environ, kafkatest.ForProcesses(t).Environ()...)
	}
	return s
}

// withoutKafka is newStack for a test that brings its own Kafka.
func withoutKafka(t testing.TB) stack {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a database server: run without -short")
	}
	// Other tests take the cores for a second now and then, and no order is to be refused for that.
	s := stack{data: t.TempDir(), environ: []string{eventVersion(t), createorder.WaitVariable + "=0"}}
	if os.Getenv("MYSQL_DSN") != "" {
		s.environ = append(s.environ, "MYSQL_SCHEMA_PREFIX="+mysqltest.Empty(t).Prefix, privilege.SecretVariable+"=secret-of-the-tests")
	}
	return s
}

// eventVersion is the variable with the version of order.created that a test's harnesses emit: that of the environment, else
// one of them by chance.
func eventVersion(t testing.TB) string {
	t.Helper()
	const name = "ORDER_CREATED_VERSION"
	version := or(os.Getenv(name), strconv.Itoa(1+rand.IntN(2)))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s=%s", name, version)
		}
	})
	return name + "=" + version
}

// process is a running harness.
type process struct {
	stack  stack // of up
	url    string
	cmd    *exec.Cmd
	stdout bytes.Buffer
	log    functiontest.Log
	ended  chan struct{}
	err    error // set once ended is closed
}

// launch starts a harness and does not wait for it. It is stopped with the test.
func launch(t testing.TB, environ []string, args ...string) *process {
	t.Helper()
	return launchAs(t, nil, environ, args...)
}

// launchAs is launch with attributes of the process.
func launchAs(t testing.TB, attributes *syscall.SysProcAttr, environ []string, args ...string) *process {
	t.Helper()
	return launchProgram(t, os.Args[0], attributes, environ, args...)
}

// launchProgram is launchAs for the harness of another build.
func launchProgram(t testing.TB, program string, attributes *syscall.SysProcAttr, environ []string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.CommandContext(context.Background(), program, args...), ended: make(chan struct{})}
	p.cmd.SysProcAttr = attributes
	p.cmd.Env = append(append(os.Environ(), asHarness+"=1"), environ...)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.log
	require.NoError(t, p.cmd.Start())
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		<-p.ended
		if t.Failed() {
			t.Logf("the log of a harness:\n%s", p.log.String())
		}
	})
	return p
}

// listening starts a harness at a URL and waits until it listens, ready or not.
func (s stack) listening(t testing.TB, url string, args ...string) *process {
	t.Helper()
	p := launch(t, s.environ, append([]string{"up", "--addr", strings.TrimPrefix(url, "http://"), "--data", s.data}, args...)...)
	p.stack, p.url = s, url
	p.await(t, "it listens", func() bool { return p.get(t, "/health", nil) != 0 })
	return p
}

// up starts a harness on the data of s and waits until it is ready.
func (s stack) up(t testing.TB, args ...string) *process {
	t.Helper()
	p := s.listening(t, "http://"+porttest.Address(t), args...)
	p.await(t, "it is ready", func() bool { return p.get(t, "/health", nil) == http.StatusOK })
	return p
}

// stop stops a harness with SIGTERM; it must exit cleanly.
func (p *process) stop(t testing.TB) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	<-p.ended
	require.NoError(t, p.err)
}

// exitCode is that of a process that has failed.
func (p *process) exitCode(t testing.TB) int {
	t.Helper()
	var exited *exec.ExitError
	require.ErrorAs(t, p.err, &exited)
	return exited.ExitCode()
}

// kill kills a harness with SIGKILL.
func (p *process) kill(t testing.TB) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Kill())
	<-p.ended
}

// await polls until something holds, at most a minute and while the harness runs.
func (p *process) await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	p.awaitWithin(t, time.Minute, what, holds)
}

// awaitWithin is await with another bound.
func (p *process) awaitWithin(t testing.TB, bound time.Duration, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(bound)
	for !holds() {
		select {
		case <-tick.C:
		case <-p.ended:
			require.FailNow(t, "the harness has ended", "before %s: %v", what, p.err)
		case <-deadline:
			require.FailNow(t, bound.String()+" are over", "before %s", what)
		}
	}
}

// get reads JSON into answer and returns the status, 0 without a listener.
func (p *process) get(t testing.TB, path string, answer any) int {
	t.Helper()
	return p.do(t, http.MethodGet, path, nil, "", answer)
}

// do sends a request with a JSON body and reads the JSON of a successful answer.
func (p *process) do(t testing.TB, method, path string, header http.Header, body string, answer any) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, p.url+path, strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	for name, values := range header {
		request.Header[name] = values
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	defer func() { assert.NoError(t, response.Body.Close()) }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0 // killed while it answered
	}
	if strings.HasPrefix(path, "/api/") {
		require.NoError(t, openapitest.Check(method, request.URL, response.StatusCode, response.Header, text), "what the API answered is not described")
	}
	if answer != nil && response.StatusCode < http.StatusMultipleChoices {
		require.NoError(t, json.Unmarshal(text, answer), string(text))
	}
	return response.StatusCode
}

// order is an order in an answer.
type order struct {
	OrderID     string `json:"orderId"`
	Status      string `json:"status"`
	TotalAmount int64  `json:"totalAmount"`
	Reason      string `json:"failureReason"`
}

// level is a stock level in an answer.
type level struct {
	AvailableQty int `json:"availableQty"`
	ReservedQty  int `json:"reservedQty"`
}

func (p *process) order(t testing.TB, id string) (o order) {
	t.Helper()
	require.Equal(t, http.StatusOK, p.get(t, "/api/orders/"+id, &o))
	return o
}

func (p *process) level(t testing.TB, sku string) (l level) {
	t.Helper()
	require.Equal(t, http.StatusOK, p.get(t, "/api/inventory/"+sku, &l))
	return l
}

func (p *process) awaitStatus(t testing.TB, id, status string) {
	t.Helper()
	p.await(t, "order "+id+" is "+status, func() bool { return p.order(t, id).Status == status })
}

func (p *process) awaitLog(t testing.TB, text string) {
	t.Helper()
	p.await(t, "the log has "+text, func() bool { return strings.Contains(p.log.String(), text) })
}

// audit asserts that all invariants hold for the stack of a harness that up has started, running or not. It skips what is in
// flight at this moment.
func (p *process) audit(t testing.TB) {
	t.Helper()
	a := launch(t, p.stack.environ, "audit", "--data", p.stack.data, "--grace", "0s")
	<-a.ended
	require.NoError(t, a.err, "%s%s", a.stdout.String(), a.log.String())
}
