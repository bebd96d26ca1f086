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

// maxEvent is the size of the largest body in which an event is taken, in bytes. A record of Kafka has at most 1 MiB with
// its headers, unless its topic says otherwise; in structured mode its data may be a third longer, as base64.
const maxEvent = 2 << 20

// Function is a function as func's runtime serves it, over HTTP: one that takes requests as it is, one that takes
// CloudEvents behind our reader of them. It has the methods that the runtime looks for, and passes them on to a function
// that has them as well.
type Function struct {
	function any
	handle   http.HandlerFunc
}

// New returns how a function is served. It fails for a value without a Handle that is known here.
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

// Ready tells whether the function can work.
func (f *Function) Ready(ctx context.Context) (bool, error) {
	if f, ok := f.function.(httpfunc.ReadinessReporter); ok {
		return f.Ready(ctx)
	}
	return true, nil
}

// Alive tells whether the function need not be started again.
func (f *Function) Alive(ctx context.Context) (bool, error) {
	if f, ok := f.function.(httpfunc.LivenessReporter); ok {
		return f.Alive(ctx)
	}
	return true, nil
}

// deliver hands the event of a request to the function, and answers with the event that it returns, if it does, or with
// the reason of its error: a KafkaSource puts that into the dead letter.
func (f *Function) deliver(w http.ResponseWriter, r *http.Request, handle handle) {
	e, err := httpbinding.Read(w, r, maxEvent)
	if err != nil {
		problem, _ := errors.AsType[*rest.Problem](err) // there is no other
		status := problem.Status
		if status == http.StatusRequestTimeout {
			status = http.StatusServiceUnavailable // the same to a KafkaSource, and no function answers 408 to an event
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
			http.Error(w, "the answer is no CloudEvent: "+err.Error(), http.StatusInternalServerError)
		}
	}
}

// call calls the function; a panic of it is a failure.
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
