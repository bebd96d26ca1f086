package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
)

// repository is a copy of this repository, in which func.sh may change files, with a fake func on the PATH that prints a
// version and records its calls.
type repository struct {
	dir, bin string
}

// withFlags is the environment of each call of func: with these flags it builds programs without symbols.
const withFlags = "GOWORK=off GOFLAGS=-mod=mod -trimpath '-ldflags=-s -w'"

const fakeFunc = `#!/usr/bin/env bash
if [ "$1" = version ]; then echo "$FAKE_VERSION"; exit; fi
echo "func $* GOWORK=$GOWORK GOFLAGS=$GOFLAGS" >>"$FAKE_LOG"
test -f "$3/func.yaml" -a -f "$3/function.go" -a -f "$3/go.mod" || exit 9
echo "# func was here" >>"$3/func.yaml"
if [ "$3" = "$FAKE_FAILS" ]; then exit 3; fi
`

func newRepository(t *testing.T) repository {
	t.Helper()
	if testing.Short() {
		t.Skip("compiles: run without -short")
	}
	r := repository{dir: t.TempDir(), bin: t.TempDir()}
	for _, folder := range []string{"events", "functions", "knative", "sql"} {
		require.NoError(t, os.CopyFS(filepath.Join(r.dir, folder), os.DirFS(filepath.Join("..", "..", folder))))
	}
	for _, file := range []string{"go.mod", "go.sum"} {
		require.NoError(t, copyFile(filepath.Join("..", "..", file), filepath.Join(r.dir, file)))
	}
	require.NoError(t, os.WriteFile(filepath.Join(r.bin, "func"), []byte(fakeFunc), 0o755))
	return r
}

// sh runs func.sh, with a func of a version, or without func if it is "".
func (r repository) sh(t *testing.T, version string, environ []string, args ...string) (output string, err error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), filepath.Join(r.dir, "knative", "func.sh"), args...)
	command.Env = append(os.Environ(), "FAKE_VERSION="+version, "FAKE_LOG="+r.log())
	command.Env = append(command.Env, environ...)
	if version != "" {
		command.Env = append(command.Env, "PATH="+r.bin+":"+os.Getenv("PATH"))
	}
	text, err := command.CombinedOutput()
	return string(text), err
}

func (r repository) log() string { return filepath.Join(r.bin, "calls") }

// calls returns the recorded calls of func, one per line.
func (r repository) calls(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(r.log())
	require.NoError(t, err)
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

func (r repository) read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(r.dir, path))
	require.NoError(t, err)
	return string(text)
}

func TestFuncIsCalledOnTheStagedFunction(t *testing.T) {
	r := newRepository(t)

	output, err := r.sh(t, "v1.23.0", nil, "reserve-stock", "build", "--registry", "registry.example.com/me")
	require.NoError(t, err, output)
	output, err = r.sh(t, "knative-v1.24.1", nil, "publish-outbox-inventory", "deploy")
	require.NoError(t, err, output)

	assert.Equal(t, []string{
		"func build --path .stage/reserve-stock --registry registry.example.com/me " + withFlags,
		"func deploy --path .stage/publish-outbox-inventory --build " + withFlags,
	}, r.calls(t))
	for _, folder := range []string{"reservestock", "publishoutbox"} {
		file := filepath.Join("functions", folder, "func.yaml")
		ours, err := os.ReadFile(filepath.Join("..", "..", file))
		require.NoError(t, err)
		assert.Equal(t, string(ours), r.read(t, file), "func writes flags of the moment into the file, and leaves comments out")
	}
}

func TestRunTakesTheSecretsFromTheEnvironment(t *testing.T) {
	r := newRepository(t)
	const dsn = "root@tcp(127.0.0.1:3306)/"

	output, err := r.sh(t, "v1.23.0", []string{"MYSQL_DSN=", "KAFKA_BROKERS="}, "publish-outbox-orders", "run")
	assert.Error(t, err)
	assert.Contains(t, output, "publish-outbox-orders needs MYSQL_DSN KAFKA_BROKERS: set it in the environment or by --env NAME=VALUE")
	assert.NoFileExists(t, r.log())

	output, err = r.sh(t, "v1.23.0", []string{"MYSQL_DSN=" + dsn, "KAFKA_BROKERS="}, "publish-outbox-orders", "run", "--env", "KAFKA_BROKERS=127.0.0.1:9092")
	require.NoError(t, err, output)
	output, err = r.sh(t, "v1.23.0", []string{"MYSQL_DSN="}, "orders-api", "run", "-e=MYSQL_DSN="+dsn)
	require.NoError(t, err, output)
	assert.Equal(t, []string{
		"func run --path .stage/publish-outbox-orders --env KAFKA_BROKERS=127.0.0.1:9092 --env MYSQL_DSN=" + dsn + " " + withFlags,
		"func run --path .stage/orders-api -e=MYSQL_DSN=" + dsn + " " + withFlags,
	}, r.calls(t))
}

func TestAllAreDeployedWithProgressUntilOneFails(t *testing.T) {
	r := newRepository(t)
	all := len(listed(t))

	output, err := r.sh(t, "v1.23.0", []string{"FAKE_FAILS=.stage/reserve-stock"}, "all", "deploy")

	assert.Error(t, err)
	assert.Contains(t, output, fmt.Sprintf("== 1 of %d: deploy cancel-order\n", all))
	assert.Contains(t, output, fmt.Sprintf("deploy reserve-stock failed, after 1 of %d", all))
	assert.Len(t, r.calls(t), 2)

	output, err = r.sh(t, "v1.23.0", nil, "all", "deploy", "--push=false")

	require.NoError(t, err, output)
	assert.Contains(t, output, fmt.Sprintf("== %d of %d: deploy inventory-api\n", all, all))
	assert.Contains(t, output, fmt.Sprintf("== all %d functions: deploy done\n", all))
	require.Len(t, r.calls(t), 2+all)
	assert.Contains(t, r.calls(t)[1+all], "--path .stage/inventory-api --build --push=false")
}

func TestWithoutAFuncThatFitsNothingIsDone(t *testing.T) {
	r := newRepository(t)
	for name, c := range map[string]struct {
		version string
		args    []string
		says    string
	}{
		"no func":        {"", []string{"notify", "build"}, "the func command is not on the PATH: install func 1.23 or newer"},
		"old func":       {"v1.22.3", []string{"notify", "build"}, "func is 1.22: install 1.23 or newer"},
		"ancient func":   {"v0.44.0", []string{"notify", "build"}, "func is 0.44: install 1.23 or newer"},
		"func of a kind": {"tip", []string{"notify", "build"}, `it says "tip"`},
		"no verb":        {"v1.23.0", []string{"notify"}, "Usage:"},
		"unknown verb":   {"v1.23.0", []string{"notify", "delete"}, "Usage:"},
		"run all":        {"v1.23.0", []string{"all", "run"}, "Usage:"},
		"unknown name":   {"v1.23.0", []string{"notified", "build"}, `there is no function "notified"`},
	} {
		t.Run(name, func(t *testing.T) {
			output, err := r.sh(t, c.version, nil, c.args...)
			assert.Error(t, err)
			assert.Contains(t, output, c.says)
			assert.NoFileExists(t, r.log())
		})
	}
}

func TestInvokeSendsAnEventThatTheFunctionHandles(t *testing.T) {
	r := newRepository(t)

	output, err := r.sh(t, "v1.23.0", nil, "reserve-stock", "invoke")
	require.NoError(t, err, output)
	output, err = r.sh(t, "v1.23.0", nil, "reserve-stock", "invoke", "--type", "order.created")
	require.NoError(t, err, output)
	output, err = r.sh(t, "v1.23.0", nil, "refund-payment", "invoke")
	require.NoError(t, err, output)
	output, err = r.sh(t, "v1.23.0", nil, "orders-api", "invoke")
	assert.Error(t, err)
	assert.Contains(t, output, "orders-api handles requests, not events: say by --target where to")

	text, err := os.ReadFile(r.log())
	require.NoError(t, err)
	sample, own, found := strings.Cut(string(text), " "+withFlags+"\n")
	require.True(t, found)
	own, ofOverlay, found := strings.Cut(own, "\n")
	require.True(t, found)
	assert.Equal(t, "func invoke --path .stage/reserve-stock --type order.created "+withFlags, own)
	assert.Contains(t, ofOverlay, `"source":"/orders","type":"order.failed"`)
	data, found := strings.CutPrefix(sample, "func invoke --path .stage/reserve-stock --format http --content-type application/cloudevents+json --data ")
	require.True(t, found, sample)
	e := event.New()
	require.NoError(t, e.UnmarshalJSON([]byte(data)))
	_, err = events.Decode[events.OrderCreated](e)
	assert.NoError(t, err)
}
