package main

import (
	"context"
	"debug/elf"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/sql/schema"
)

// system is the running docker-compose.yml, with customers.
type system struct {
	*installation
	load     *load
	commit   string
	measured []string
}

// The system on the engine of the docker client, from its build to its removal.
func TestComposeRunsTheWholeSystem(t *testing.T) {
	if os.Getenv("COMPOSE_TEST") == "" {
		t.Skip("starts containers: set COMPOSE_TEST=1, or run .ci/run compose")
	}
	s := &system{installation: newInstallation(t)}
	s.load = newLoad("http://" + s.address("HARNESS_PORT"))
	out, err := exec.CommandContext(t.Context(), "git", "-C", s.dir, "rev-parse", "HEAD").Output()
	require.NoError(t, err)
	s.commit = strings.TrimSpace(string(out))
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"the image says which commit it is", s.build},
		{"an order is confirmed from nothing", s.first},
		{"nothing is lost when services restart and die under load", s.disturb},
		{"down keeps the data", s.again},
		{"up says which port is in use", s.collide},
		{"a proxy of the client is for the world outside", s.watched},
		{"down --volumes leaves nothing", s.remove},
		{"the image can be built for arm64", s.cross},
	} {
		require.True(t, t.Run(step.name, step.run))
	}
	t.Logf("measured:\n%s", strings.Join(s.measured, "\n"))
}

// measure logs the duration of run.
func (s *system) measure(what string, run func()) {
	begin := time.Now()
	run()
	s.measured = append(s.measured, fmt.Sprintf("%s: %.1f s", what, time.Since(begin).Seconds()))
}

func (s *system) build(t *testing.T) {
	t.Helper()
	s.measure("docker compose build", func() { s.docker(t, "compose", "build") })
	image := project + "-harness"
	assert.Contains(t, s.docker(t, "run", "--rm", image, "version"), "commit "+s.commit)
	s.measured = append(s.measured, "size of the image: "+s.docker(t, "image", "inspect", "--format", "{{.Size}}", image)+" bytes")
}

func (s *system) first(t *testing.T) {
	t.Helper()
	s.measure("docker compose up --build --wait, from nothing", func() { s.docker(t, "compose", "up", "--build", "--wait") })
	var info struct{ Build struct{ Commit string } }
	status, _ := s.load.once(t.Context(), "http://"+s.address("HARNESS_OPS_PORT"), http.MethodGet, "/info", "", "", &info)
	require.Equal(t, http.StatusOK, status)
	assert.Equal(t, s.commit, info.Build.Commit)

	var stock struct {
		Inventory []struct {
			SKU string `json:"sku"`
			level
		} `json:"inventory"`
	}
	s.get(t, "/api/inventory", &stock)
	require.NotEmpty(t, stock.Inventory, "the sample stock")
	for _, item := range stock.Inventory {
		s.load.restocked(item.SKU, item.AvailableQty+item.ReservedQty)
	}
	require.Equal(t, http.StatusCreated, s.load.send(t.Context(), http.MethodPut, "/api/inventory/PLENTY", `{"availableQty":100000}`, nil))
	s.load.restocked("PLENTY", 100_000)
	s.confirm(t)
	s.audit(t)

	// Both servers are reachable from this machine, as the harness's own user and under the advertised address.
	client, err := sarama.NewClient([]string{s.address("KAFKA_PORT")}, sarama.NewConfig())
	require.NoError(t, err)
	defer func() { assert.NoError(t, client.Close()) }()
	topics, err := client.Topics()
	require.NoError(t, err)
	assert.Contains(t, topics, "order.created")
	broker, err := client.Controller()
	require.NoError(t, err)
	assert.Equal(t, s.address("KAFKA_PORT"), broker.Addr())
}

// get reads JSON from the API over the published port.
func (s *system) get(t *testing.T, path string, answer any) {
	t.Helper()
	require.Equal(t, http.StatusOK, s.load.send(t.Context(), http.MethodGet, path, "", answer))
}

// confirm places an order, waits until it is CONFIRMED, and returns its id.
func (s *system) confirm(t *testing.T) string {
	t.Helper()
	id := s.load.place(t.Context(), map[string]int{"PLENTY": 1})
	require.NotEmpty(t, id)
	await(t, "order "+id+" is CONFIRMED", func() bool {
		var o order
		status, _ := s.load.once(t.Context(), s.load.targets[0], http.MethodGet, "/api/orders/"+id, "", "", &o)
		return status == http.StatusOK && o.Status == "CONFIRMED"
	})
	return id
}

// audit runs the auditor in the container; it skips what is in flight at that moment.
func (s *system) audit(t *testing.T) {
	t.Helper()
	s.docker(t, "compose", "exec", "-T", "harness", "/harness", "audit", "--grace", "0s")
}

const customers = 4

func (s *system) disturb(t *testing.T) {
	t.Helper()
	for range customers {
		s.load.clients.Go(func() {
			for {
				select {
				case <-s.load.stop:
					return
				case <-t.Context().Done():
					return
				case <-time.After(50 * time.Millisecond):
					s.load.place(t.Context(), map[string]int{"PLENTY": 1})
				}
			}
		})
	}
	begin, before := time.Now(), s.load.count()
	for _, service := range []string{"harness", "mysql", "kafka"} {
		require.True(t, t.Run("restart "+service, func(t *testing.T) {
			s.docker(t, "compose", "restart", service)
			s.awaitHealthy(t, service)
			s.confirm(t)
		}))
		require.True(t, t.Run("kill -9 of the process of "+service, func(t *testing.T) {
			restarts := s.inspect(t, service).RestartCount
			s.killProcess(t, service)
			await(t, service+" is started again", func() bool { return s.inspect(t, service).RestartCount == restarts+1 })
			s.awaitHealthy(t, service)
			s.confirm(t)
		}))
		require.True(t, t.Run("docker kill "+service, func(t *testing.T) {
			s.docker(t, "kill", s.name(service))
			await(t, service+" is down", func() bool { return s.inspect(t, service).State.Status == "exited" })
			s.docker(t, "compose", "up", "--wait") // the engine does not restart what an operator killed
			s.confirm(t)
		}))
	}
	for line := range strings.Lines(s.docker(t, "stats", "--no-stream", "--format", "{{.Name}}: {{.MemUsage}}", s.name("mysql"), s.name("kafka"), s.name("harness"))) {
		s.measured = append(s.measured, "memory under load, "+strings.TrimSpace(line))
	}
	close(s.load.stop)
	s.load.clients.Wait()
	s.settled(t)
	s.measured = append(s.measured, fmt.Sprintf("%d orders accepted and CONFIRMED in %.0f s, %d answers of 503", s.load.count()-before, time.Since(begin).Seconds(), s.load.refused))
	assert.Empty(t, s.load.broken)
}

func (s *system) databases(t *testing.T) databases {
	t.Helper()
	return openDatabases(t, schema.Server{DSN: "orders:" + s.env["MYSQL_PASSWORD"] + "@tcp(" + s.address("MYSQL_PORT") + ")/"})
}

// settled compares the databases with the answers to the customers: all of their orders are CONFIRMED, and nothing is lost,
// duplicated or oversold.
func (s *system) settled(t *testing.T) {
	t.Helper()
	d := s.databases(t)
	defer d.close()
	_, v, err := s.load.settle(t.Context(), d, 2*time.Minute)
	require.NoError(t, err)
	require.Empty(t, v.what)
	require.NoError(t, d.each(t.Context(), schema.Orders, "SELECT status, COUNT(*) FROM orders GROUP BY status", func(scan scanner) error {
		var status string
		var n int
		err := scan(&status, &n)
		assert.Equal(t, "CONFIRMED", status)
		assert.Equal(t, s.load.count(), n)
		return err
	}))
	s.audit(t)
}

func (s *system) again(t *testing.T) {
	t.Helper()
	s.docker(t, "compose", "down")
	assert.Empty(t, s.docker(t, "ps", "--all", "--quiet", "--filter", "label=com.docker.compose.project="+project))
	s.measure("docker compose up --wait, with the data kept", func() { s.docker(t, "compose", "up", "--wait") })
	s.settled(t)
	s.confirm(t)
}

// collide starts the harness while its port is in use.
func (s *system) collide(t *testing.T) {
	t.Helper()
	s.docker(t, "compose", "down")
	listener, err := net.Listen("tcp", s.address("HARNESS_PORT"))
	require.NoError(t, err)
	_, err = s.attempt(t, "compose", "up", "--wait")
	assert.NoError(t, listener.Close())
	require.ErrorContains(t, err, s.address("HARNESS_PORT"))
	require.ErrorContains(t, err, "in use")
}

// watched runs all services with an image in the foreground, like a user who adds the profile, behind a proxy that does not
// answer, and with payment by the gateway of its profile. It continues where up has failed.
func (s *system) watched(t *testing.T) {
	t.Helper()
	s.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://jaeger:4318"
	s.env["HARNESS_OVERLAY"], s.env["PAYMENT_GATEWAY"] = "payment", "http"
	s.writeEnv(t)
	services, missing := s.available(t)
	if len(missing) > 0 {
		t.Logf("left out, since their images are not to be had here: %s", strings.Join(missing, ", "))
	}
	const proxy = "http://192.0.2.1:3128" // an address reserved for documentation
	s.behindProxy(t, proxy)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	up := s.command(ctx, append([]string{"compose", "--profile", "observability", "--profile", "payment", "up", "--build"}, services...)...)
	var log functiontest.Log
	up.Stdout, up.Stderr = &log, &log
	require.NoError(t, up.Start())
	ended := sync.OnceValue(up.Wait)
	defer func() {
		interrupt()
		_ = ended() // the state of the containers shows the result
		if t.Failed() {
			t.Logf("docker compose up:\n%s", log.String())
		}
	}()

	for _, service := range services {
		await(t, service+" is there", func() bool { _, err := s.attempt(t, "inspect", s.name(service)); return err == nil })
		s.awaitHealthy(t, service)
	}
	assert.Contains(t, s.inspect(t, "harness").Config.Env, "HTTP_PROXY="+proxy)
	s.paid(t, s.confirm(t))
	s.audit(t)
	// A command that calls the harness at the address that it finds in the container.
	s.docker(t, "compose", "exec", "-T", "harness", "/harness", "bench", "--running", "--orders", "20", "--warmup", "1", "--skus", "1", "--lines", "1")
	if slices.Contains(missing, "jaeger") {
		s.awaitTraces(t)
	}
	if slices.Contains(services, "prometheus") {
		await(t, "Prometheus has scraped the harness", func() bool {
			var answer struct {
				Data struct{ Result []struct{ Value [2]any } }
			}
			query := "/api/v1/query?query=" + url.QueryEscape(`up{job="orders"}`)
			status, _ := s.load.once(t.Context(), "http://"+s.address("PROMETHEUS_PORT"), http.MethodGet, query, "", "", &answer)
			return status == http.StatusOK && len(answer.Data.Result) == 1 && answer.Data.Result[0].Value[1] == "1"
		})
	}
	interrupt() // Ctrl-C
	_ = ended()
	for _, service := range services {
		state := s.inspect(t, service).State
		assert.Equal(t, "exited", state.Status, service)
		assert.NotEqual(t, 137, state.ExitCode, "%s ends within its grace period", service)
	}
	assert.Zero(t, s.inspect(t, "harness").State.ExitCode, "the harness ends well")
}

// paid asserts that the gateway holds the money of an order, as its payment says.
func (s *system) paid(t *testing.T, id string) {
	t.Helper()
	d := s.databases(t)
	defer d.close()
	var status, currency string
	var amount int64
	require.NoError(t, d.each(t.Context(), schema.Payments, "SELECT status, amount, currency FROM payments WHERE order_id = '"+id+"'", func(scan scanner) error {
		return scan(&status, &amount, &currency)
	}))
	assert.Equal(t, "AUTHORIZED", status)
	assert.Positive(t, amount)
	held, err := readLedger(t.Context(), func() (gateway.Ledger, error) {
		return gateway.OpenLedger(map[string]string{"PAYMENT_GATEWAY": "http", "PAYMENT_GATEWAY_URL": "http://" + s.address("BANK_PORT")})
	})
	require.NoError(t, err)
	assert.Equal(t, gateway.Holding{OrderID: id, Currency: currency, Authorized: amount}, held[id])
}

// available returns the services whose images this engine has or can pull.
func (s *system) available(t *testing.T) (services, missing []string) {
	t.Helper()
	for name, service := range composed(t, nil).Services {
		if slices.ContainsFunc(service.images(t), func(image string) bool { return !s.has(t, image) }) {
			missing = append(missing, name)
			continue
		}
		services = append(services, name)
	}
	slices.Sort(services)
	slices.Sort(missing)
	return services, missing
}

// has returns whether the engine has an image or can pull it.
func (s *system) has(t *testing.T, image string) bool {
	t.Helper()
	for _, look := range [][]string{{"image", "inspect", image}, {"pull", "--quiet", image}} {
		if _, err := s.attempt(t, look...); err == nil {
			return true
		}
	}
	return false
}

// awaitTraces listens in place of jaeger until the harness sends a trace there. The listener takes any number of connections: the
// first one need not be that of a request.
func (s *system) awaitTraces(t *testing.T) {
	t.Helper()
	const name = project + "-traces"
	listener := s.command(t.Context(), "run", "--rm", "--name", name, "--network", project+"_default", "--network-alias", "jaeger", "--entrypoint", "busybox",
		s.image(t, "prometheus"), "httpd", "-f", "-vv", "-p", "4318")
	var got functiontest.Log
	listener.Stdout, listener.Stderr = &got, &got
	require.NoError(t, listener.Start())
	defer func() {
		s.docker(t, "kill", name) // as the first process of its container it takes no other signal
		_ = listener.Wait()
	}()
	await(t, "a trace comes to jaeger", func() bool {
		s.confirm(t)
		return strings.Contains(got.String(), "url:/v1/traces")
	})
}

func (s *system) remove(t *testing.T) {
	t.Helper()
	s.docker(t, "compose", "--profile", "observability", "--profile", "payment", "down", "--volumes")
	for _, kind := range [][]string{{"ps", "--all"}, {"volume", "ls"}, {"network", "ls"}} {
		assert.Empty(t, s.docker(t, append(kind, "--quiet", "--filter", "label=com.docker.compose.project="+project)...), kind)
	}
}

// cross builds for another architecture, with Go and without an emulator, and with the labels of a release.
func (s *system) cross(t *testing.T) {
	t.Helper()
	image := project + "-harness:arm64"
	s.measure("docker buildx build --platform linux/arm64", func() {
		s.docker(t, "buildx", "build", "--platform", "linux/arm64", "--build-arg", "REVISION=1f5a", "--build-arg", "VERSION=v1.2.3",
			"--file", "functions/harness/Dockerfile", "--load", "--tag", image, ".")
	})
	defer s.docker(t, "image", "rm", image)
	assert.Equal(t, "arm64 1f5a v1.2.3", s.docker(t, "image", "inspect", "--format",
		`{{.Architecture}} {{index .Config.Labels "org.opencontainers.image.revision"}} {{index .Config.Labels "org.opencontainers.image.version"}}`, image))
	binary := filepath.Join(t.TempDir(), "harness")
	created := s.docker(t, "create", "--platform", "linux/arm64", image)
	s.docker(t, "cp", created+":/harness", binary)
	s.docker(t, "rm", created)
	file, err := elf.Open(binary)
	require.NoError(t, err)
	defer func() { assert.NoError(t, file.Close()) }()
	assert.Equal(t, elf.EM_AARCH64, file.Machine)

	emulator, err := exec.LookPath("qemu-aarch64-static")
	if err != nil {
		t.Log("not run, for want of qemu-aarch64-static")
		return
	}
	out, err := exec.CommandContext(t.Context(), emulator, binary, "--version").Output()
	require.NoError(t, err)
	assert.Regexp(t, `^orders harness v1\.2\.3\ncommit 1f5a\ngo[0-9.]+ linux/arm64\n$`, string(out))
}
