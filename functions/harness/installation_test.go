package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/porttest"
)

// installation is a clone of this repository, with the changes of the working tree, in which a user runs Docker Compose as a
// separate project.
type installation struct {
	dir     string
	environ []string
	env     map[string]string // of the file .env
	client  string            // a folder for settings of the docker client
}

const project = "orders-composed"

// dockerWithin bounds a command of the docker client. Beside other tests on two cores a build has taken more than eight minutes.
const dockerWithin = 20 * time.Minute

// newInstallation clones and writes an .env with free ports. Everything of the project is removed with the test.
func newInstallation(t *testing.T) *installation {
	t.Helper()
	i := &installation{
		dir: t.TempDir(), client: t.TempDir(), environ: append(os.Environ(), "COMPOSE_PROJECT_NAME="+project, "COMPOSE_ANSI=never"),
		env: map[string]string{"MYSQL_PASSWORD": "p@ss:w/rd", "MYSQL_ROOT_PASSWORD": "other"},
	}
	command := exec.CommandContext(t.Context(), "sh", "-euc",
		`git clone --quiet "$1" "$2" && git -C "$1" diff --binary HEAD | git -C "$2" apply --allow-empty`, "sh", root, i.dir)
	out, err := command.CombinedOutput()
	require.NoError(t, err, "%s", out)
	for name := range settings["all set"] {
		if strings.HasSuffix(name, "_PORT") {
			_, port, err := net.SplitHostPort(porttest.Address(t))
			require.NoError(t, err)
			i.env[name] = port
		}
	}
	i.writeEnv(t)
	remove := []string{"compose", "--profile", "observability", "--profile", "payment", "down", "--volumes", "--remove-orphans", "--rmi", "local"}
	i.docker(t, remove...) // of a killed run
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
		defer cancel()
		if t.Failed() {
			logs, _ := i.command(ctx, "compose", "--profile", "observability", "--profile", "payment", "logs", "--no-color", "--tail", "20").CombinedOutput()
			t.Logf("the end of the logs:\n%s", logs)
		}
		out, err := i.command(ctx, remove...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	})
	return i
}

func (i *installation) writeEnv(t *testing.T) {
	t.Helper()
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(i.env)) {
		fmt.Fprintf(&text, "%s=%s\n", name, i.env[name])
	}
	require.NoError(t, os.WriteFile(filepath.Join(i.dir, ".env"), []byte(text.String()), 0o600))
}

// address returns the address of a published port of .env.
func (i *installation) address(variable string) string { return "127.0.0.1:" + i.env[variable] }

func (i *installation) command(ctx context.Context, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, "docker", args...)
	command.Dir, command.Env = i.dir, i.environ
	// An interrupted client may clean up.
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGINT) }
	command.WaitDelay = 2 * time.Minute
	return command
}

// attempt runs the docker client and returns its standard output; an error includes its standard error.
func (i *installation) attempt(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), dockerWithin)
	defer cancel()
	command := i.command(ctx, args...)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	if err != nil {
		err = fmt.Errorf("docker %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(stdout.String()), err
}

// docker is attempt where it must succeed.
func (i *installation) docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := i.attempt(t, args...)
	require.NoError(t, err)
	return out
}

// container is the output of docker inspect.
type container struct {
	RestartCount int
	State        struct {
		Status   string
		Pid      int
		ExitCode int
		Health   struct{ Status string }
	}
	Config struct{ Env []string }
}

func (i *installation) inspect(t *testing.T, service string) container {
	t.Helper()
	var all []container
	require.NoError(t, json.Unmarshal([]byte(i.docker(t, "inspect", i.name(service))), &all))
	require.Len(t, all, 1)
	return all[0]
}

func (i *installation) name(service string) string { return project + "-" + service + "-1" }

// killProcess kills the first process of a container with SIGKILL, from outside of the container and unknown to the engine.
// It needs no rights on this machine, which may be another one than the engine's.
func (i *installation) killProcess(t *testing.T, service string) {
	t.Helper()
	i.docker(t, "run", "--rm", "--network", "none", "--pid", "host", "--user", "0", "--entrypoint", "bash", i.image(t, "mysql"),
		"-c", fmt.Sprintf("kill -KILL %d", i.inspect(t, service).State.Pid))
}

// image returns the name in docker-compose.yml.
func (i *installation) image(t *testing.T, service string) string {
	t.Helper()
	return composed(t, nil).Services[service].Image
}

// await polls until something holds, at most four minutes: a broker that was killed, and the JVM that asks how it is, start beside
// whatever else uses the machine.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(4 * time.Minute)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			require.FailNow(t, "four minutes are over", "before %s", what)
		}
	}
}

func (i *installation) awaitHealthy(t *testing.T, service string) {
	t.Helper()
	await(t, service+" is healthy", func() bool { return i.inspect(t, service).State.Health.Status == "healthy" })
}

// behindProxy sets a proxy in the settings of this installation's client that does not exist. Compose passes it to every
// build and container.
func (i *installation) behindProxy(t *testing.T, proxy string) {
	t.Helper()
	folder := os.Getenv("DOCKER_CONFIG")
	if folder == "" {
		home, err := os.UserHomeDir()
		require.NoError(t, err)
		folder = filepath.Join(home, ".docker")
	}
	host := i.docker(t, "context", "inspect", "--format", "{{.Endpoints.docker.Host}}")
	text, err := json.Marshal(map[string]any{
		"proxies":             map[string]any{"default": map[string]string{"httpProxy": proxy, "httpsProxy": proxy, "noProxy": "intranet.example.com"}},
		"cliPluginsExtraDirs": []string{filepath.Join(folder, "cli-plugins")},
	})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(i.client, "config.json"), text, 0o600))
	i.environ = append(i.environ, "DOCKER_CONFIG="+i.client, "DOCKER_HOST="+host)
}
