package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"example.com/orders/functions"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/function/host"
	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/web/direct"
	"example.com/orders/functions/internal/web/httpbinding"
	"example.com/orders/functions/internal/web/identity"
	"example.com/orders/knative"
)

// processes runs the functions of a wiring each as a process of its own behind HTTP, as Knative runs them in pods.
type processes struct {
	log       *slog.Logger
	folder    string // of their logs
	pprof     bool
	client    *http.Client
	addresses map[string]string // host:port, by the names of the Services
	own       map[string]string // the variables of the token with which this process sends them events
	token     *identity.Token   // the same
	release   []func()          // give the ports back
}

// underWay is how many records of a partition are posted at once. Knative's dispatcher takes as many of an unordered source in one
// poll (max.poll.records), of all its partitions, and polls while fewer are under way.
const underWay = 50

// idleWithin is how long a connection to a function may be silent, as in Knative's dispatcher. The functions' runtime closes
// it after 30 seconds.
const idleWithin = 10 * time.Second

// newProcesses chooses the addresses of all Services: some functions are told where others are. Each takes events only from
// this process and from the senders that config names.
func newProcesses(services []knative.Service, config map[string]string, folder string, profiles bool, log *slog.Logger) (*processes, error) {
	transport := direct.Transport()
	transport.MaxIdleConnsPerHost, transport.MaxIdleConns, transport.IdleConnTimeout = 256, 0, idleWithin
	p := &processes{
		log: log, folder: logsOfFunctions(folder), pprof: profiles,
		client: &http.Client{Transport: transport}, addresses: map[string]string{},
		own: ownToken(config),
	}
	var err error
	if p.token, err = identity.NewToken(p.own, sinkToken); err != nil {
		return nil, err
	}
	for _, s := range services {
		address, release, err := reserveAddress()
		if err != nil {
			p.close()
			return nil, err
		}
		p.addresses[s.Name] = address
		p.release = append(p.release, release)
	}
	if err := os.MkdirAll(p.folder, 0o700); err != nil {
		p.close()
		return nil, fmt.Errorf("make the folder of the functions' logs: %w", err)
	}
	return p, nil
}

// close gives the ports back, once the functions have ended.
func (p *processes) close() {
	if p == nil {
		return
	}
	for _, release := range p.release {
		release()
	}
	p.release = nil
}

// environ is the environment of a Service's process: what its manifest says, what this process is told of the servers, and
// addresses on this machine for those of a cluster.
func (p *processes) environ(service knative.Service, config map[string]string) (map[string]string, error) {
	environ := maps.Clone(service.Env)
	if environ == nil {
		environ = map[string]string{}
	}
	maps.Copy(environ, config)
	maps.Copy(environ, p.own)
	delete(environ, "OUTBOX_POKE_TOKEN") // the relays are poked with the token of this process
	delete(environ, "OUTBOX_POKE_TOKEN_FILE")
	environ["LISTEN_ADDRESS"] = p.addresses[service.Name]
	if relay := service.Env["OUTBOX_POKE_URL"]; relay != "" {
		u, err := url.Parse(relay)
		if err != nil {
			return nil, fmt.Errorf("OUTBOX_POKE_URL: %w", err)
		}
		name, _, _ := strings.Cut(u.Hostname(), ".")
		if u.Host = p.addresses[name]; u.Host == "" {
			return nil, fmt.Errorf("OUTBOX_POKE_URL %s: there is no Service %q", relay, name)
		}
		environ["OUTBOX_POKE_URL"] = u.String()
	}
	return environ, nil
}

// remote returns the function of a Service as one that runs in a process of its own; local is the same in this process, which
// is not started.
func (p *processes) remote(service knative.Service, local functions.Function) functions.Function {
	r := &remote{processes: p, service: service, shared: local.Shared(), address: p.addresses[service.Name]}
	r.shared.Name = service.Name
	if schema := service.Outbox(); schema != "" {
		r.shared.Schema = schema // a relay learns it when it starts
	}
	if host.ForSources(local) {
		return &remoteConsumer{r}
	}
	to := &url.URL{Scheme: "http", Host: r.address}
	return &remoteAPI{r, &httputil.ReverseProxy{
		Rewrite:   func(request *httputil.ProxyRequest) { request.SetURL(to) },
		Transport: p.client.Transport,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil { // the client has not gone
				p.log.Warn("function not reached", "function", service.Name, "error", err)
			}
			w.WriteHeader(http.StatusBadGateway)
		},
	}}
}

// remote is a function in a process of its own.
type remote struct {
	*processes
	service knative.Service
	shared  *base.Base
	address string

	cmd      *exec.Cmd
	lifeline io.Closer // the process ends when this closes, as with this process
	ended    chan struct{}
	err      error // once ended is closed
}

// remoteConsumer is one that takes events, remoteAPI one that takes requests.
type (
	remoteConsumer struct{ *remote }
	remoteAPI      struct {
		*remote
		proxy *httputil.ReverseProxy
	}
)

// Shared returns what a host knows of the function: its name and its schema.
func (r *remote) Shared() *base.Base { return r.shared }

// Start starts the process, and does not wait until it is ready.
func (r *remote) Start(_ context.Context, config map[string]string) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	environ, err := r.environ(r.service, config)
	if err != nil {
		return err
	}
	log, err := os.Create(r.logPath())
	if err != nil {
		return fmt.Errorf("make the log of a function: %w", err)
	}
	defer func() { _ = log.Close() }() // the child has its own
	r.cmd = exec.CommandContext(context.Background(), program, "function", "--name", r.service.Function, fmt.Sprintf("--pprof=%t", r.pprof))
	for name, value := range environ {
		r.cmd.Env = append(r.cmd.Env, name+"="+value)
	}
	r.cmd.Stdout, r.cmd.Stderr = log, log
	// The signals of a terminal are for this process, which ends the functions when nothing needs them any more.
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if r.lifeline, err = r.cmd.StdinPipe(); err == nil {
		err = r.cmd.Start()
	}
	if err != nil {
		return fmt.Errorf("start a process: %w", err)
	}
	r.log.Info("function started as a process", "function", r.service.Name, "pid", r.cmd.Process.Pid, "address", r.address, "log", r.logPath())
	r.ended = make(chan struct{})
	go func() {
		r.err = r.cmd.Wait()
		close(r.ended)
	}()
	return nil
}

func (r *remote) logPath() string { return logOfFunction(r.folder, r.service.Name) }

// logsOfFunctions is the folder with the logs of functions in their own processes, in a data folder.
func logsOfFunctions(data string) string { return filepath.Join(data, "functions") }

func logOfFunction(folder, name string) string { return filepath.Join(folder, name+".log") }

// Ready tells whether the process answers that it can work.
func (r *remote) Ready(ctx context.Context) (bool, error) {
	select {
	case <-r.ended:
		return false, fmt.Errorf("its process has ended (%s), see %s", r.cmd.ProcessState, r.logPath())
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, healthWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.address+"/health/readiness", nil)
	if err != nil {
		return false, err
	}
	return true, r.answer(request)
}

// answer sends a request, and returns the answer as the error that a function in this process would have returned.
func (r *remote) answer(request *http.Request) error {
	response, err := r.client.Do(request) //nolint:gosec // to an address of this machine that was chosen here
	if err != nil {
		return delivery.Result(err)
	}
	defer func() { _ = response.Body.Close() }()                // it has been read
	text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<16)) // what was read is what there is to report
	if response.StatusCode < http.StatusMultipleChoices {
		return nil
	}
	return cehttp.NewResult(response.StatusCode, "%s", strings.TrimSpace(string(text)))
}

// Stop ends the process, and kills it when ctx ends first.
func (r *remote) Stop(ctx context.Context) error {
	if r.ended == nil {
		return nil // it was not started
	}
	select {
	case <-r.ended:
		return fmt.Errorf("its process has ended by itself: %s\n%s", r.cmd.ProcessState, tail(r.logPath()))
	default:
	}
	r.client.CloseIdleConnections() // the runtime waits for those that were never used
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the process %d: %w", r.cmd.Process.Pid, err)
	}
	select {
	case <-r.ended:
	case <-ctx.Done():
		err := r.cmd.Process.Kill()
		<-r.ended
		return errors.Join(errors.New("its process did not stop in time and was killed"), err)
	}
	if r.err != nil {
		return fmt.Errorf("its process has ended badly: %w\n%s", r.err, tail(r.logPath()))
	}
	return nil
}

// Handle posts an event as a KafkaSource does; its error has the status of the answer.
func (r *remoteConsumer) Handle(ctx context.Context, e event.Event) error {
	request, err := httpbinding.NewRequest(ctx, "http://"+r.address, e)
	if err != nil {
		return delivery.Result(delivery.Poison(err))
	}
	r.token.Authorize(request)
	return r.answer(request)
}

// Handle passes a request on.
func (r *remoteAPI) Handle(w http.ResponseWriter, request *http.Request) {
	r.proxy.ServeHTTP(w, request)
}

// pids returns the processes of functions, by the names of their Services.
func pids(all map[string]functions.Function) map[string]int {
	found := map[string]int{}
	for name, f := range all {
		if f, ok := f.(interface{ pid() int }); ok {
			found[name] = f.pid()
		}
	}
	return found
}

func (r *remote) pid() int { return r.cmd.Process.Pid }
