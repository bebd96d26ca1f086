// Package deployed builds functions as func does and runs each as a separate process, for tests. Start returns the URL of a
// Service's function.
package deployed

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/porttest"
	"example.com/orders/knative"
)

// mainFile is func's scaffolding for a function with a New that is invoked by http.
const mainFile = `package main

import (
	"fmt"
	"os"

	runtime "knative.dev/func-go/http"

	f "example.com/orders"
)

func main() {
	if err := runtime.Start(f.New()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
`

const module = "example.com/orders"

// Binaries maps the names of Services to built functions.
type Binaries map[string]string

// Build stages and builds the functions of all Services into dir; root is the root of the repository. It builds two at a
// time: each build uses several processors, and all share one cache.
func Build(ctx context.Context, root, dir string, services []knative.Service) (Binaries, error) {
	stager := filepath.Join(dir, "stage")
	if err := command(ctx, root, "go", "build", "-o", stager, "./knative/stage"); err != nil {
		return nil, err
	}
	binaries := Binaries{}
	errs := make([]error, len(services))
	places := make(chan struct{}, 2)
	var group sync.WaitGroup
	for i, s := range services {
		binary := filepath.Join(dir, "bin", s.Name)
		binaries[s.Name] = binary
		group.Go(func() {
			places <- struct{}{}
			errs[i] = build(ctx, root, stager, s.Name, filepath.Join(dir, s.Name), binary)
			<-places
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return binaries, nil
}

// build stages one function and builds it with a main in a separate module, beside func's other files.
func build(ctx context.Context, root, stager, name, stage, binary string) error {
	if err := command(ctx, root, stager, name, stage); err != nil {
		return err
	}
	var project struct {
		Invoke string `json:"invoke"`
	}
	text, err := os.ReadFile(filepath.Join(stage, "func.yaml"))
	if err != nil {
		return err
	}
	if err := yaml.Unmarshal(text, &project); err != nil {
		return err
	}
	if project.Invoke != "http" {
		return fmt.Errorf("%s: func puts a receiver of its own before a function that is invoked by %q", name, project.Invoke)
	}
	requirements, err := os.ReadFile(filepath.Join(stage, "go.mod"))
	if err != nil {
		return err
	}
	sums, err := os.ReadFile(filepath.Join(stage, "go.sum"))
	if err != nil {
		return err
	}
	scaffold := filepath.Join(stage, ".func", "build")
	if err := os.MkdirAll(scaffold, 0o755); err != nil {
		return err
	}
	goMod := strings.Replace(string(requirements), "module "+module, "module function", 1) +
		"\nrequire " + module + " v0.0.0\nreplace " + module + " => ../..\n"
	for file, content := range map[string]string{
		"go.mod": goMod, "go.sum": string(sums), "main.go": mainFile,
	} {
		if err := os.WriteFile(filepath.Join(scaffold, file), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return compile(ctx, root, scaffold, binary)
}

// flagsOfFunc is how func.sh sets the flags with which func compiles.
var flagsOfFunc = regexp.MustCompile(`GOFLAGS="([^"]+)" func `)

// compile builds the program in a folder as func does: its host builder calls go build with the flags of the environment, which
// func.sh sets.
func compile(ctx context.Context, root, dir, binary string) error {
	script, err := os.ReadFile(filepath.Join(root, "knative", "func.sh"))
	if err != nil {
		return err
	}
	flags := flagsOfFunc.FindSubmatch(script)
	if flags == nil {
		return fmt.Errorf("func.sh does not call func with %s: compile as it does now", flagsOfFunc)
	}
	return command(ctx, dir, "env", "GOFLAGS="+string(flags[1]), "go", "build", "-buildvcs=false", "-o", binary, ".")
}

func command(ctx context.Context, dir, name string, args ...string) error {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// Process is a running function.
type Process struct {
	// URL is its address, without a path.
	URL string

	cmd   *exec.Cmd
	log   functiontest.Log
	ended chan struct{}
	err   error // set once ended is closed
}

// Start runs a function and waits until it is ready. environ overrides the test's environment. The process is stopped with
// the test, and must exit cleanly.
func (b Binaries) Start(t testing.TB, name string, environ map[string]string) *Process {
	t.Helper()
	require.Contains(t, b, name)
	address := porttest.Address(t)
	p := &Process{URL: "http://" + address, cmd: exec.CommandContext(context.Background(), b[name]), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), "LISTEN_ADDRESS="+address)
	for variable, value := range environ {
		p.cmd.Env = append(p.cmd.Env, variable+"="+value)
	}
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	require.NoError(t, p.cmd.Start())
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() { p.end(t, name) })
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for p.health(t, "readiness") != http.StatusOK {
		select {
		case <-tick.C:
		case <-p.ended:
			require.Fail(t, "the function has ended", name)
		case <-deadline:
			require.Fail(t, "the function does not get ready", name)
		}
	}
	return p
}

func (p *Process) end(t testing.TB, name string) {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.ended:
	case <-time.After(40 * time.Second): // func's runtime waits 30 s for requests
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	if p.err != nil {
		t.Errorf("%s ended with %v", name, p.err)
	}
	if t.Failed() {
		t.Logf("the log of %s:\n%s", name, p.log.String())
	}
}

// health requests a health path of func's runtime and returns the status, 0 without an answer.
func (p *Process) health(t testing.TB, which string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.URL+"/health/"+which, nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}
