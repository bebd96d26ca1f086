package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	httpfunc "knative.dev/func-go/http"

	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/web/httpbinding"
	"example.com/orders/functions/internal/web/identity"
	"example.com/orders/functions/internal/web/rest"
)

// maxEvent is the size of the largest accepted body of an event, in bytes. A Kafka record has at most 1 MiB including
// headers, unless its topic sets another limit; in structured mode base64 makes its data a third longer.
const maxEvent = 2 << 20

// Function serves a function over HTTP in the form that func's runtime expects. It passes requests to a function that takes
// requests, and puts the project's CloudEvents reader in front of a function that takes events. It has the lifecycle methods
// that the runtime looks for, and calls those that the function has.
type Function struct {
	function any
	handle   http.HandlerFunc
	consumes bool                             // events of sources
	sources  atomic.Pointer[identity.Sources] // who may send them; nil before Start
	refusals refusals
}

// New wraps f. It fails if f has no Handle of a known signature. A function that consumes events takes them from its sources
// only; one that replies to an event is called by customers, and knows itself what each of them may do.
func New(f any) (*Function, error) {
	served := &Function{function: f}
	if f, ok := f.(httpfunc.Handler); ok {
		served.handle = f.Handle
		return served, nil
	}
	handle, ok := handler(f)
	if !ok {
		return nil, fmt.Errorf("%T has no Handle for HTTP requests or CloudEvents", f)
	}
	served.consumes = ForSources(f)
	served.handle = func(w http.ResponseWriter, r *http.Request) { served.deliver(w, r, handle) }
	return served, nil
}

// Handle answers a request.
func (f *Function) Handle(w http.ResponseWriter, r *http.Request) { f.handle(w, r) }

// Start starts the function, for the senders that its configuration names: see identity.NewSources.
func (f *Function) Start(ctx context.Context, config map[string]string) error {
	if f.consumes {
		sources, err := identity.NewSources(config)
		if err != nil {
			return err
		}
		f.sources.Store(sources)
	}
	if f, ok := f.function.(httpfunc.Starter); ok {
		return f.Start(ctx, config)
	}
	return nil
}

// Stop stops the function.
func (f *Function) Stop(ctx context.Context) error {
	if f, ok := f.function.(httpfunc.Stopper); ok {
		return f.Stop(ctx)
	}
	return nil
}

// Ready returns whether the function can work.
func (f *Function) Ready(ctx context.Context) (bool, error) {
	if f, ok := f.function.(httpfunc.ReadinessReporter); ok {
		return f.Ready(ctx)
	}
	return true, nil
}

// Alive returns false if the function needs a restart.
func (f *Function) Alive(ctx context.Context) (bool, error) {
	if f, ok := f.function.(httpfunc.LivenessReporter); ok {
		return f.Alive(ctx)
	}
	return true, nil
}

// authenticator is a function that takes events from people and programs: it puts the principal of a request into its context.
// The error is a *rest.Problem.
type authenticator interface {
	Authenticate(r *http.Request) (context.Context, error)
}

// deliver hands the event of a request to the function. It answers with the event that the function returns, if any, or with
// the reason of its error, which a KafkaSource copies into the dead letter.
func (f *Function) deliver(w http.ResponseWriter, r *http.Request, handle handle) {
	if f.consumes && !f.admits(w, r) {
		return
	}
	ctx := r.Context()
	if f, ok := f.function.(authenticator); ok {
		var err error
		if ctx, err = f.Authenticate(r); err != nil {
			rest.Handler(slog.Default, func(http.ResponseWriter, *http.Request) error { return err })(w, r)
			return
		}
	}
	e, err := httpbinding.Read(w, r, maxEvent)
	if err != nil {
		problem, _ := errors.AsType[*rest.Problem](err) // read returns no other errors
		status := problem.Status
		if status == http.StatusRequestTimeout {
			status = http.StatusServiceUnavailable // a KafkaSource treats both the same, and functions never answer 408
		}
		http.Error(w, problem.Detail, status)
		return
	}
	reply, err := f.call(ctx, e, handle)
	switch {
	case err != nil:
		http.Error(w, delivery.Reason(err), delivery.Status(err))
	case reply == nil:
		w.WriteHeader(http.StatusOK)
	default:
		if err := httpbinding.WriteResponse(w, http.StatusOK, *reply); err != nil {
			http.Error(w, "the answer is not a valid CloudEvent: "+err.Error(), http.StatusInternalServerError)
		}
	}
}

// admits returns whether the sender of a request may send events, and otherwise answers it.
func (f *Function) admits(w http.ResponseWriter, r *http.Request) bool {
	sources := f.sources.Load()
	if sources == nil {
		http.Error(w, "the function has not started yet", http.StatusServiceUnavailable)
		return false
	}
	err := sources.Check(r)
	if err == nil {
		return true
	}
	problem, _ := errors.AsType[*rest.Problem](err) // Check returns no other errors
	f.refusals.log(r.Context(), f.logger(), problem.Detail)
	w.Header().Set("WWW-Authenticate", "Bearer") // what the caller lacks, beside the status that has it try again
	w.Header().Set("Retry-After", "1")
	http.Error(w, problem.Detail, problem.Status)
	return false
}

// refusals logs that senders are refused. Anybody who reaches the function may cause that, so it is logged once a minute.
type refusals struct {
	mu   sync.Mutex
	last time.Time
}

func (l *refusals) log(ctx context.Context, log *slog.Logger, why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.last) >= time.Minute {
		l.last = now
		log.WarnContext(ctx, "sender refused; more of them are not logged for a minute", "reason", why)
	}
}

// logger returns the log of the function.
func (f *Function) logger() *slog.Logger {
	if f, ok := f.function.(interface{ Logger() *slog.Logger }); ok {
		return f.Logger()
	}
	return slog.Default()
}

// call calls the function and turns a panic into an error.
func (f *Function) call(ctx context.Context, e event.Event, handle handle) (reply *event.Event, err error) {
	defer func() {
		if p := recover(); p != nil {
			f.logger().ErrorContext(ctx, "function panicked", "panic", p, "event_id", e.ID(), "stack", string(debug.Stack()))
			reply, err = nil, cehttp.NewResult(http.StatusInternalServerError, "the function panicked: %v", p)
		}
	}()
	return handle(ctx, e)
}
