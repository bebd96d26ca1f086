package gateway

import (
	"context"
	"errors"
	"time"
)

// The operations and the results of Measure.
const (
	OperationAuthorize = "authorize"
	OperationRefund    = "refund"
	OperationLookup    = "lookup"

	ResultAnswered   = "answered"
	ResultUnknownKey = "unknown_key"
	ResultRefused    = "refused"   // the gateway works, and refuses the request
	ResultFailed     = "failed"    // also without an answer in time
	ResultNotAsked   = "not_asked" // see IsNotAsked
)

// Measure returns g with observe called after each call, with the operation, the result, and how long the call took.
func Measure(g Gateway, observe func(operation, result string, took time.Duration)) Gateway {
	return measured{g, observe}
}

type measured struct {
	gateway Gateway
	observe func(operation, result string, took time.Duration)
}

func (m measured) Authorize(ctx context.Context, a Authorization) (Answer, error) {
	return m.call(OperationAuthorize, func() (Answer, error) { return m.gateway.Authorize(ctx, a) })
}

func (m measured) Refund(ctx context.Context, r Refund) (Answer, error) {
	return m.call(OperationRefund, func() (Answer, error) { return m.gateway.Refund(ctx, r) })
}

func (m measured) Lookup(ctx context.Context, key string) (Answer, error) {
	return m.call(OperationLookup, func() (Answer, error) { return m.gateway.Lookup(ctx, key) })
}

func (m measured) call(operation string, ask func() (Answer, error)) (Answer, error) {
	begin := time.Now()
	answer, err := ask()
	m.observe(operation, resultOf(err), time.Since(begin))
	return answer, err
}

func resultOf(err error) string {
	_, refused := errors.AsType[*Refusal](err)
	switch {
	case err == nil:
		return ResultAnswered
	case errors.Is(err, ErrUnknownKey):
		return ResultUnknownKey
	case IsNotAsked(err):
		return ResultNotAsked
	case refused:
		return ResultRefused
	}
	return ResultFailed
}
