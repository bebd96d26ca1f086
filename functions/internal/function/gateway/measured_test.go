package gateway_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/functions/internal/testkit/gatewaytest"
)

// taking answers every call after a second, with an error.
type taking struct{ err error }

func (g taking) Authorize(context.Context, gateway.Authorization) (gateway.Answer, error) {
	time.Sleep(time.Second)
	return gateway.Answer{}, g.err
}

func (g taking) Refund(context.Context, gateway.Refund) (gateway.Answer, error) {
	time.Sleep(time.Second)
	return gateway.Answer{}, g.err
}

func (g taking) Lookup(context.Context, string) (gateway.Answer, error) {
	time.Sleep(time.Second)
	return gateway.Answer{}, g.err
}

// away is a gateway whose guard leaves it alone.
func away(ctx context.Context) gateway.Gateway {
	g := gateway.Guard(taking{errors.New("reset")}, gateway.Options{Failures: 1, Pause: time.Hour})
	_, _ = g.Lookup(ctx, "a")
	return g
}

func TestEachCallIsMeasuredByWhatItWasAndHowItEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type call struct {
			operation, result string
			took              time.Duration
		}
		ends := func(err error) func() gateway.Gateway { return func() gateway.Gateway { return taking{err} } }
		for want, open := range map[string]func() gateway.Gateway{
			gateway.ResultAnswered:   ends(nil),
			gateway.ResultUnknownKey: ends(gateway.ErrUnknownKey),
			gateway.ResultRefused:    ends(&gateway.Refusal{Status: 422}),
			gateway.ResultFailed:     ends(errors.New("reset")),
			gateway.ResultNotAsked:   func() gateway.Gateway { return away(t.Context()) },
		} {
			g := open()
			took := time.Second
			if want == gateway.ResultNotAsked {
				took = 0
			}
			var calls []call
			m := gateway.Measure(g, func(operation, result string, took time.Duration) {
				calls = append(calls, call{operation, result, took})
			})
			_, err := m.Authorize(t.Context(), gateway.Authorization{})
			_, _ = m.Refund(t.Context(), gateway.Refund{})
			_, _ = m.Lookup(t.Context(), "a")
			assert.Equal(t, []call{
				{gateway.OperationAuthorize, want, took}, {gateway.OperationRefund, want, took}, {gateway.OperationLookup, want, took},
			}, calls)
			assert.Equal(t, want == gateway.ResultAnswered, err == nil, "the error is passed on")
		}
	})
}

// measured is a measured gateway with the ledger of the one that it measures.
type measured struct {
	gateway.Gateway
	book
}

// book has the name that the method of a Ledger leaves free.
type book = gateway.Ledger

func TestAMeasuredGatewayConforms(t *testing.T) {
	gatewaytest.Conform(t, func(*testing.T) gatewaytest.Subject {
		s := gateway.NewSimulated(gateway.Scenario{})
		return measured{gateway.Measure(s, func(string, string, time.Duration) {}), s}
	})
}
