package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"

	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	httpfunc "knative.dev/func-go/http"

	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/web/httpbinding"
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
}

// New wraps f. It fails if f has no Handle of a known signature.
func New(f any) (*Function, error) {
	if f, ok := f.(httpfunc.Handler); ok {
		return &Function{f, f.Handle}, nil
	}
	handle, ok := handler(f)
	if !ok {
		return nil, fmt.Errorf("%T has no Handle for HTTP requests or CloudEvents", f)
	}
	served := &Function{function: f}
	served.handle = func(w http.ResponseWriter, r *http.Request) { served.deliver(w, r, handle) }
	return served, nil
}

// Handle answers a request.
func (f *Function) Handle(w http.ResponseWriter, r *http.Request) { f.handle(w, r) }

// Start starts the function.
func (f *Function) Start(ctx context.Context, config map[string]string) error {
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

// deliver hands the event of a request to the function. It answers with the event that the function returns, if any, or with
// the reason of its error, which a KafkaSource copies into the dead letter.
func (f *Function) deliver(w http.ResponseWriter, r *http.Request, handle handle) {
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
	reply, err := f.call(r.Context(), e, handle)
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

// call calls the function and turns a panic into an error.
func (f *Function) call(ctx context.Context, e event.Event, handle handle) (reply *event.Event, err error) {
	defer func() {
		if p := recover(); p != nil {
			log := slog.Default()
			if f, ok := f.function.(interface{ Logger() *slog.Logger }); ok {
				log = f.Logger()
			}
			log.ErrorContext(ctx, "function panicked", "panic", p, "event_id", e.ID(), "stack", string(debug.Stack()))
			reply, err = nil, cehttp.NewResult(http.StatusInternalServerError, "the function panicked: %v", p)
		}
	}()
	return handle(ctx, e)
}
