package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sony/gobreaker/v2"
)

// Options are the bounds of a Guard. A zero field takes its default.
type Options struct {
	Timeout  time.Duration // of each call; 3 s
	Calls    int           // in flight at most; 512
	Failures int           // in a row after which the gateway is left alone; 10
	Pause    time.Duration // how long it is left alone, before one call tries it again; 5 s
}

// DefaultTimeout bounds each call to the gateway unless PAYMENT_GATEWAY_TIMEOUT says otherwise.
const DefaultTimeout = 3 * time.Second

const (
	defaultCalls    = 512
	defaultFailures = 10
	defaultPause    = 5 * time.Second
)

// Guard bounds the calls to g in time and in number, and leaves g alone after failures in a row, so that a gateway that hangs
// holds up neither its callers nor orders that do not need it. A call that is one too many waits for another to end, at most
// for the time-out of a call. A call that is not made returns an error for which IsNotAsked is true. What the gateway refuses
// (see Refusal) is no failure: the gateway works.
func Guard(g Gateway, o Options) Gateway {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Calls <= 0 {
		o.Calls = defaultCalls
	}
	if o.Failures <= 0 {
		o.Failures = defaultFailures
	}
	if o.Pause <= 0 {
		o.Pause = defaultPause
	}
	return &guard{
		gateway: g, options: o, calls: make(chan struct{}, o.Calls),
		breaker: gobreaker.NewCircuitBreaker[Answer](gobreaker.Settings{
			Timeout:      o.Pause,
			ReadyToTrip:  func(c gobreaker.Counts) bool { return int(c.ConsecutiveFailures) >= o.Failures },
			IsSuccessful: works,
			IsExcluded:   func(err error) bool { return errors.Is(err, errGaveUp) },
		}),
	}
}

// guard is a Guard. calls has an element for each call in flight.
type guard struct {
	gateway Gateway
	options Options
	calls   chan struct{}
	breaker *gobreaker.CircuitBreaker[Answer]
}

// errGaveUp marks a call whose caller gave up before the time of the call was over. It says nothing about the gateway.
var errGaveUp = errors.New("the caller gave up")

// works returns whether err is the answer of a gateway that works, or of none because the caller's values are refused.
func works(err error) bool {
	_, refused := errors.AsType[*Refusal](err)
	return refused || err == nil || errors.Is(err, ErrUnknownKey)
}

func (g *guard) Authorize(ctx context.Context, a Authorization) (Answer, error) {
	return g.call(ctx, func(ctx context.Context) (Answer, error) { return g.gateway.Authorize(ctx, a) })
}

func (g *guard) Refund(ctx context.Context, r Refund) (Answer, error) {
	return g.call(ctx, func(ctx context.Context) (Answer, error) { return g.gateway.Refund(ctx, r) })
}

func (g *guard) Lookup(ctx context.Context, key string) (Answer, error) {
	return g.call(ctx, func(ctx context.Context) (Answer, error) { return g.gateway.Lookup(ctx, key) })
}

func (g *guard) call(ctx context.Context, ask func(context.Context) (Answer, error)) (Answer, error) {
	if !g.enter(ctx) {
		return Answer{}, notAsked{fmt.Errorf("%d calls to the payment gateway are in flight: ask again later", g.options.Calls)}
	}
	defer func() { <-g.calls }()
	answer, err := g.breaker.Execute(func() (Answer, error) {
		bounded, cancel := context.WithTimeout(ctx, g.options.Timeout)
		defer cancel()
		answer, err := ask(bounded)
		if err != nil && ctx.Err() != nil {
			err = errors.Join(err, errGaveUp)
		}
		return answer, err
	})
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		return Answer{}, notAsked{fmt.Errorf("the payment gateway failed %d times in a row and is left alone for %s: ask again later: %w",
			g.options.Failures, g.options.Pause, err)}
	}
	return answer, err
}

// enter waits until the call may be in flight, for the time of a call at most: those that come before it are over by then.
func (g *guard) enter(ctx context.Context) bool {
	select {
	case g.calls <- struct{}{}:
		return true
	default:
	}
	bounded, cancel := context.WithTimeout(ctx, g.options.Timeout)
	defer cancel()
	select {
	case g.calls <- struct{}{}:
		return true
	case <-bounded.Done():
		return false
	}
}

// Refusal is the error of a gateway that works and refuses a request, such as one whose key came with another body. The
// outcome is unknown all the same: an earlier request with the key may have had an effect.
type Refusal struct {
	Status int    // of HTTP
	Detail string // what the gateway said
}

// Error says what the gateway refused, and why.
func (r *Refusal) Error() string {
	return fmt.Sprintf("the payment gateway refused the request with %d: %s", r.Status, r.Detail)
}
