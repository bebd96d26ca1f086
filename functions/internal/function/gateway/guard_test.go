package gateway_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/functions/internal/testkit/gatewaytest"
)

// odd is a gateway whose every call does the same.
type odd struct {
	do    func(context.Context) error
	calls atomic.Int32
}

func (o *odd) call(ctx context.Context) (gateway.Answer, error) {
	o.calls.Add(1)
	return gateway.Answer{Status: gateway.Authorized}, o.do(ctx)
}

func (o *odd) Authorize(ctx context.Context, _ gateway.Authorization) (gateway.Answer, error) {
	return o.call(ctx)
}
func (o *odd) Refund(ctx context.Context, _ gateway.Refund) (gateway.Answer, error) {
	return o.call(ctx)
}
func (o *odd) Lookup(ctx context.Context, _ string) (gateway.Answer, error) { return o.call(ctx) }

// kinds are the three calls of a gateway.
var kinds = map[string]func(context.Context, gateway.Gateway) error{
	"authorize": func(ctx context.Context, g gateway.Gateway) error {
		_, err := g.Authorize(ctx, gatewaytest.Authorization(1299))
		return err
	},
	"refund": func(ctx context.Context, g gateway.Gateway) error {
		_, err := g.Refund(ctx, gatewaytest.RefundOf(gatewaytest.Authorization(1299), ""))
		return err
	},
	"lookup": func(ctx context.Context, g gateway.Gateway) error {
		_, err := g.Lookup(ctx, "a.authorize")
		return err
	},
}

var errBroken = errors.New("broken")

func broken(context.Context) error  { return errBroken }
func working(context.Context) error { return nil }
func hanging(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestAGatewayThatHangsCostsItsTimeOutsAndThenNothing(t *testing.T) {
	for name, call := range kinds {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := &odd{do: hanging}
				g := gateway.Guard(o, gateway.Options{Timeout: time.Second, Failures: 3, Pause: 10 * time.Second})
				start := time.Now()
				for range 3 {
					err := call(t.Context(), g)
					require.ErrorIs(t, err, context.DeadlineExceeded)
					assert.False(t, gateway.IsNotAsked(err), "it may have had an effect")
				}
				assert.Equal(t, 3*time.Second, time.Since(start))
				for range 100 {
					err := call(t.Context(), g)
					assert.True(t, gateway.IsNotAsked(err))
					assert.ErrorContains(t, err, "failed 3 times in a row and is left alone for 10s: ask again later")
				}
				assert.Equal(t, 3*time.Second, time.Since(start), "no call waits")
				assert.EqualValues(t, 3, o.calls.Load())
			})
		})
	}
}

func TestAfterAPauseOneCallTriesTheGatewayAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &odd{do: broken}
		g := gateway.Guard(o, gateway.Options{Failures: 3, Pause: 10 * time.Second})
		ask := func() error { return kinds["authorize"](t.Context(), g) }
		for range 3 {
			require.ErrorIs(t, ask(), errBroken)
		}
		time.Sleep(9 * time.Second)
		require.True(t, gateway.IsNotAsked(ask()))

		time.Sleep(2 * time.Second)
		require.ErrorIs(t, ask(), errBroken)
		require.True(t, gateway.IsNotAsked(ask()), "it is still broken")

		time.Sleep(11 * time.Second)
		answer := make(chan struct{})
		o.do = func(context.Context) error { <-answer; return nil }
		tried := make(chan error, 1)
		go func() { tried <- ask() }()
		synctest.Wait()
		assert.True(t, gateway.IsNotAsked(ask()), "one call at a time tries it")
		close(answer)
		require.NoError(t, <-tried)
		for range 10 {
			require.NoError(t, ask())
		}
	})
}

func TestOnlyFailuresInARowHaveAGatewayLeftAlone(t *testing.T) {
	for name, err := range map[string]error{
		"an answer":                          nil,
		"a key that it does not know":        gateway.ErrUnknownKey,
		"a request that it refuses":          &gateway.Refusal{Status: 409, Detail: "another body"},
		"a caller that gives up by itself":   context.Canceled,
		"a failure, then an answer, in turn": errBroken,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				o := &odd{do: func(context.Context) error { return err }}
				g := gateway.Guard(o, gateway.Options{Failures: 3})
				for range 20 {
					if errors.Is(err, context.Canceled) {
						given, cancel := context.WithCancel(ctx)
						cancel()
						require.ErrorIs(t, kinds["authorize"](given, g), err)
						continue
					}
					require.ErrorIs(t, kinds["authorize"](ctx, g), err)
					if errors.Is(err, errBroken) {
						o.do = working
						require.NoError(t, kinds["authorize"](ctx, g))
						o.do = broken
					}
				}
			})
		})
	}
}

func TestCallsInFlightAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan struct{})
		g := gateway.Guard(&odd{do: func(context.Context) error { <-answer; return nil }}, gateway.Options{Calls: 3})
		ended := make(chan error, 3)
		for name := range kinds {
			go func() { ended <- kinds[name](t.Context(), g) }()
		}
		synctest.Wait()
		for name, call := range kinds {
			begin := time.Now()
			err := call(t.Context(), g)
			assert.True(t, gateway.IsNotAsked(err), name)
			assert.ErrorContains(t, err, "3 calls to the payment gateway are in flight: ask again later")
			assert.Equal(t, gateway.DefaultTimeout, time.Since(begin), "it has waited for a call to end")
		}
		waiting := make(chan error, 1)
		go func() { waiting <- kinds["authorize"](t.Context(), g) }()
		synctest.Wait()
		close(answer)
		require.NoError(t, <-waiting)
		for range 3 {
			require.NoError(t, <-ended)
		}
		for range 10 {
			require.NoError(t, kinds["lookup"](t.Context(), g), "a place is free again, and a refusal is no failure of the gateway")
		}
	})
}
