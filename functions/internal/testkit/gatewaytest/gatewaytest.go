// Package gatewaytest has the tests that every payment gateway passes.
package gatewaytest

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/gateway"
)

// Subject is a gateway with a scenario without rates, and its ledger.
type Subject interface {
	gateway.Gateway
	gateway.Ledger
}

// Conform runs the tests on the gateways that open returns, each with an empty ledger.
func Conform(t *testing.T, open func(t *testing.T) Subject) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, Subject){
		"holds and returns money":                         holdsAndReturns,
		"answers a key again without a second effect":     answersAgain,
		"refuses a key with another body":                 refusesAnotherBody,
		"has one effect for concurrent calls":             oneEffect,
		"closes a key by a refund that comes first":       closes,
		"lets one of refund and authorization come first": races,
		"returns money once, whatever the keys":           returnsOnce,
		"declines by amount":                              declines,
		"loses an answer after the effect":                losesAnAnswer,
		"fails at first by amount":                        failsAtFirst,
		"does not know keys that it has not seen":         unknownKeys,
		"takes values within their bounds only":           bounds,
		"pages through its ledger in the order of ids":    pages,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// Authorization returns an authorization of an amount in EUR for a new order.
func Authorization(amount int64) gateway.Authorization {
	id := uuid.Must(uuid.NewV7()).String()
	return gateway.Authorization{Key: gateway.AuthorizationKey(id), OrderID: id, Amount: amount, Currency: "EUR"}
}

// RefundOf returns the refund of an authorization, with the reference of its answer.
func RefundOf(a gateway.Authorization, reference string) gateway.Refund {
	return gateway.Refund{Key: gateway.RefundKey(a.OrderID), AuthorizationKey: a.Key, Reference: reference, Amount: a.Amount, Currency: a.Currency}
}

// Held returns the holding of an order, nil if the ledger does not have it.
func Held(t *testing.T, ledger gateway.Ledger, orderID string) *gateway.Holding {
	t.Helper()
	for after, more := "", true; more; more = after != "" {
		page, next, err := ledger.Ledger(t.Context(), after, gateway.MaxPage)
		require.NoError(t, err)
		for _, h := range page {
			if h.OrderID == orderID {
				return &h
			}
		}
		after = next
	}
	return nil
}

func authorize(t *testing.T, g gateway.Gateway, a gateway.Authorization) gateway.Answer {
	t.Helper()
	answer, err := g.Authorize(t.Context(), a)
	require.NoError(t, err)
	return answer
}

func refund(t *testing.T, g gateway.Gateway, r gateway.Refund) gateway.Answer {
	t.Helper()
	answer, err := g.Refund(t.Context(), r)
	require.NoError(t, err)
	return answer
}

func lookup(t *testing.T, g gateway.Gateway, key string) gateway.Answer {
	t.Helper()
	answer, err := g.Lookup(t.Context(), key)
	require.NoError(t, err)
	return answer
}

func holdsAndReturns(t *testing.T, s Subject) {
	t.Helper()
	for _, amount := range []int64{0, 1299, events.MaxTotal} {
		a := Authorization(amount)
		held := authorize(t, s, a)
		assert.NotEmpty(t, held.Reference)
		assert.Equal(t, gateway.Answer{Status: gateway.Authorized, Reference: held.Reference, Amount: amount, Currency: "EUR"}, held)
		assert.Equal(t, held, lookup(t, s, a.Key))
		assert.Equal(t, &gateway.Holding{OrderID: a.OrderID, Authorized: amount, Currency: "EUR"}, Held(t, s, a.OrderID))

		r := RefundOf(a, held.Reference)
		returned := refund(t, s, r)
		assert.NotEmpty(t, returned.Reference)
		assert.NotEqual(t, held.Reference, returned.Reference)
		assert.Equal(t, gateway.Answer{Status: gateway.Refunded, Reference: returned.Reference, Amount: amount, Currency: "EUR"}, returned)
		assert.Equal(t, returned, lookup(t, s, r.Key))
		assert.Equal(t, &gateway.Holding{OrderID: a.OrderID, Authorized: amount, Refunded: amount, Currency: "EUR"}, Held(t, s, a.OrderID))
	}
}

func answersAgain(t *testing.T, s Subject) {
	t.Helper()
	a := Authorization(1299)
	held := authorize(t, s, a)
	assert.Equal(t, held, authorize(t, s, a))

	unknown := RefundOf(a, "")
	returned := refund(t, s, unknown)
	assert.Equal(t, gateway.Refunded, returned.Status)
	assert.Equal(t, returned, refund(t, s, unknown))
	assert.Equal(t, returned, refund(t, s, RefundOf(a, held.Reference)), "the caller has learned the reference in the meantime")
	assert.Equal(t, held, authorize(t, s, a), "an answer never changes")
	assert.Equal(t, &gateway.Holding{OrderID: a.OrderID, Authorized: 1299, Refunded: 1299, Currency: "EUR"}, Held(t, s, a.OrderID))
}

func refusesAnotherBody(t *testing.T, s Subject) {
	t.Helper()
	a := Authorization(1299)
	authorize(t, s, a)
	for name, other := range map[string]gateway.Authorization{
		"another amount":   {Key: a.Key, OrderID: a.OrderID, Amount: 1300, Currency: "EUR"},
		"another order":    {Key: a.Key, OrderID: Authorization(1).OrderID, Amount: 1299, Currency: "EUR"},
		"another currency": {Key: a.Key, OrderID: a.OrderID, Amount: 1299, Currency: "USD"},
		"a second currency of the order": {
			Key: "another.authorize", OrderID: a.OrderID, Amount: 1299, Currency: "USD",
		},
		"a sum of the order that is too large": {
			Key: "another.authorize", OrderID: a.OrderID, Amount: events.MaxTotal - 1298, Currency: "EUR",
		},
	} {
		_, err := s.Authorize(t.Context(), other)
		assertRefused(t, err, http.StatusConflict, name)
	}
	_, err := s.Refund(t.Context(), gateway.Refund{Key: gateway.RefundKey(a.OrderID), AuthorizationKey: a.Key, Amount: 1000, Currency: "EUR"})
	assertRefused(t, err, http.StatusConflict, "a part of the amount")

	refund(t, s, RefundOf(a, ""))
	_, err = s.Refund(t.Context(), gateway.Refund{Key: gateway.RefundKey(a.OrderID), AuthorizationKey: "another", Amount: 1299, Currency: "EUR"})
	assertRefused(t, err, http.StatusConflict, "another authorization")
	assert.Equal(t, &gateway.Holding{OrderID: a.OrderID, Authorized: 1299, Refunded: 1299, Currency: "EUR"}, Held(t, s, a.OrderID))
}

func assertRefused(t *testing.T, err error, status int, name string) {
	t.Helper()
	refusal, ok := errors.AsType[*gateway.Refusal](err)
	if assert.True(t, ok, "%s: %v", name, err) {
		assert.Equal(t, status, refusal.Status, name)
		assert.False(t, gateway.IsNotAsked(err), name)
	}
}

// concurrent calls something n times at once, and returns the answers.
func concurrent(n int, call func(i int) (gateway.Answer, error)) ([]gateway.Answer, error) {
	answers, errs := make([]gateway.Answer, n), make([]error, n)
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		all.Go(func() {
			<-start
			answers[i], errs[i] = call(i)
		})
	}
	close(start)
	all.Wait()
	return answers, errors.Join(errs...)
}

func oneEffect(t *testing.T, s Subject) {
	t.Helper()
	a := Authorization(1299)
	answers, err := concurrent(16, func(int) (gateway.Answer, error) { return s.Authorize(t.Context(), a) })
	require.NoError(t, err)
	for _, answer := range answers {
		assert.Equal(t, answers[0], answer)
	}
	answers, err = concurrent(16, func(int) (gateway.Answer, error) { return s.Refund(t.Context(), RefundOf(a, "")) })
	require.NoError(t, err)
	for _, answer := range answers {
		assert.Equal(t, gateway.Refunded, answer.Status)
		assert.Equal(t, answers[0], answer)
	}
	assert.Equal(t, &gateway.Holding{OrderID: a.OrderID, Authorized: 1299, Refunded: 1299, Currency: "EUR"}, Held(t, s, a.OrderID))
}

func closes(t *testing.T, s Subject) {
	t.Helper()
	a := Authorization(1299)
	nothing := gateway.Answer{Status: gateway.Nothing, Currency: "EUR"}
	closed := gateway.Answer{Status: gateway.Closed, Currency: "EUR"}
	assert.Equal(t, nothing, refund(t, s, RefundOf(a, "")))
	assert.Equal(t, closed, lookup(t, s, a.Key))
	assert.Equal(t, closed, authorize(t, s, a))
	assert.Equal(t, closed, authorize(t, s, a))
	assert.Equal(t, nothing, refund(t, s, RefundOf(a, "")))
	assert.Nil(t, Held(t, s, a.OrderID))
}

func races(t *testing.T, s Subject) {
	t.Helper()
	for range 50 {
		a := Authorization(1299)
		answers, err := concurrent(2, func(i int) (gateway.Answer, error) {
			if i == 0 {
				return s.Authorize(t.Context(), a)
			}
			return s.Refund(t.Context(), RefundOf(a, ""))
		})
		require.NoError(t, err)
		if answers[0].Status == gateway.Closed {
			assert.Equal(t, gateway.Nothing, answers[1].Status)
			assert.Nil(t, Held(t, s, a.OrderID))
			continue
		}
		assert.Equal(t, gateway.Authorized, answers[0].Status)
		assert.Equal(t, gateway.Refunded, answers[1].Status)
	}
}

func returnsOnce(t *testing.T, s Subject) {
	t.Helper()
	a := Authorization(1299)
	held := authorize(t, s, a)
	refund(t, s, RefundOf(a, held.Reference))
	other := RefundOf(a, held.Reference)
	other.Key = "another.refund"
	assert.Equal(t, gateway.Answer{Status: gateway.Nothing, Currency: "EUR"}, refund(t, s, other))
	assert.Equal(t, &gateway.Holding{OrderID: a.OrderID, Authorized: 1299, Refunded: 1299, Currency: "EUR"}, Held(t, s, a.OrderID))
}

func declines(t *testing.T, s Subject) {
	t.Helper()
	for amount, reason := range map[int64]string{1: "card_declined", 1201: "card_declined", 1202: "insufficient_funds"} {
		a := Authorization(amount)
		declined := gateway.Answer{Status: gateway.Declined, Currency: "EUR", Reason: reason}
		assert.Equal(t, declined, authorize(t, s, a))
		assert.Equal(t, declined, lookup(t, s, a.Key))
		assert.Equal(t, gateway.Answer{Status: gateway.Nothing, Currency: "EUR"}, refund(t, s, RefundOf(a, "")))
		assert.Equal(t, declined, authorize(t, s, a), "an answer never changes")
		assert.Nil(t, Held(t, s, a.OrderID))
	}
}

func losesAnAnswer(t *testing.T, s Subject) {
	t.Helper()
	a := Authorization(1203)
	r := RefundOf(a, "")
	lose(t, s, a.Key, func(ctx context.Context) (gateway.Answer, error) { return s.Authorize(ctx, a) })
	assert.Equal(t, gateway.Authorized, authorize(t, s, a).Status)
	lose(t, s, r.Key, func(ctx context.Context) (gateway.Answer, error) { return s.Refund(ctx, r) })
	assert.Equal(t, gateway.Refunded, refund(t, s, r).Status)
	assert.Equal(t, &gateway.Holding{OrderID: a.OrderID, Authorized: 1203, Refunded: 1203, Currency: "EUR"}, Held(t, s, a.OrderID))
}

// lose asserts that a call has its effect and gets no answer.
func lose(t *testing.T, g gateway.Gateway, key string, ask func(context.Context) (gateway.Answer, error)) {
	t.Helper()
	ctx, giveUp := context.WithCancel(t.Context())
	defer giveUp()
	ended := make(chan error, 1)
	go func() {
		_, err := ask(ctx)
		ended <- err
	}()
	for {
		_, err := g.Lookup(t.Context(), key)
		if err == nil {
			break
		}
		require.ErrorIs(t, err, gateway.ErrUnknownKey)
	}
	select {
	case err := <-ended:
		require.Fail(t, "the answer came", "%v", err)
	default:
	}
	giveUp()
	err := <-ended
	require.Error(t, err)
	assert.False(t, gateway.IsNotAsked(err))
}

func failsAtFirst(t *testing.T, s Subject) {
	t.Helper()
	for amount, moved := range map[int64]bool{1204: false, 1205: true} {
		a := Authorization(amount)
		_, err := s.Authorize(t.Context(), a)
		assertFailed(t, err)
		if moved {
			assert.Equal(t, gateway.Authorized, lookup(t, s, a.Key).Status)
		} else {
			_, err := s.Lookup(t.Context(), a.Key)
			assert.ErrorIs(t, err, gateway.ErrUnknownKey)
		}
		assert.Equal(t, gateway.Authorized, authorize(t, s, a).Status)

		r := RefundOf(a, "")
		_, err = s.Refund(t.Context(), r)
		assertFailed(t, err)
		want := int64(0)
		if moved {
			want = amount
		}
		assert.Equal(t, &gateway.Holding{OrderID: a.OrderID, Authorized: amount, Refunded: want, Currency: "EUR"}, Held(t, s, a.OrderID))
		assert.Equal(t, gateway.Refunded, refund(t, s, r).Status)
		assert.Equal(t, &gateway.Holding{OrderID: a.OrderID, Authorized: amount, Refunded: amount, Currency: "EUR"}, Held(t, s, a.OrderID))
	}
}

// assertFailed asserts that the outcome of a call is unknown, and the gateway at fault.
func assertFailed(t *testing.T, err error) {
	t.Helper()
	require.Error(t, err)
	assert.False(t, gateway.IsNotAsked(err))
	_, refused := errors.AsType[*gateway.Refusal](err)
	assert.False(t, refused)
}

func unknownKeys(t *testing.T, s Subject) {
	t.Helper()
	a := Authorization(1299)
	for _, key := range []string{a.Key, gateway.RefundKey(a.OrderID)} {
		_, err := s.Lookup(t.Context(), key)
		assert.ErrorIs(t, err, gateway.ErrUnknownKey)
	}
	authorize(t, s, a)
	_, err := s.Lookup(t.Context(), gateway.RefundKey(a.OrderID))
	assert.ErrorIs(t, err, gateway.ErrUnknownKey)
}

func bounds(t *testing.T, s Subject) {
	t.Helper()
	good := Authorization(1299)
	for name, spoil := range map[string]func(*gateway.Authorization, *gateway.Refund){
		"no key":            func(a *gateway.Authorization, r *gateway.Refund) { a.Key, r.Key = "", "" },
		"a path for a key":  func(a *gateway.Authorization, r *gateway.Refund) { a.Key, r.Key = "../ledger", "a/b" },
		"a dot for a key":   func(a *gateway.Authorization, r *gateway.Refund) { a.Key, r.Key = ".", ".." },
		"no order":          func(a *gateway.Authorization, r *gateway.Refund) { a.OrderID, r.AuthorizationKey = "", "" },
		"an amount below 0": func(a *gateway.Authorization, r *gateway.Refund) { a.Amount, r.Amount = -1, -1 },
		"an amount too large": func(a *gateway.Authorization, r *gateway.Refund) {
			a.Amount, r.Amount = events.MaxTotal+1, events.MaxTotal+1
		},
		"a currency in words":  func(a *gateway.Authorization, r *gateway.Refund) { a.Currency, r.Currency = "Euro", "Euro" },
		"a currency in braces": func(a *gateway.Authorization, r *gateway.Refund) { a.Currency, r.Currency = `"EU`, `{}}` },
	} {
		a, r := good, RefundOf(good, "")
		spoil(&a, &r)
		_, err := s.Authorize(t.Context(), a)
		assert.ErrorContains(t, err, "outside of the bounds", name)
		_, err = s.Refund(t.Context(), r)
		assert.ErrorContains(t, err, "outside of the bounds", name)
	}
	_, err := s.Lookup(t.Context(), good.OrderID)
	assert.True(t, gateway.IsNotAsked(err), "a key of neither kind")
	assert.Nil(t, Held(t, s, good.OrderID))
}

func pages(t *testing.T, s Subject) {
	t.Helper()
	var want []string
	for i := range 7 {
		a := Authorization(1299)
		want = append(want, a.OrderID)
		if i%2 == 0 {
			refund(t, s, RefundOf(a, ""))
			want = want[:len(want)-1]
		}
		authorize(t, s, a)
	}
	require.Len(t, want, 3)
	for limit := 1; limit <= 4; limit++ {
		var got []string
		for after, more := "", true; more; more = after != "" {
			page, next, err := s.Ledger(t.Context(), after, limit)
			require.NoError(t, err)
			require.LessOrEqual(t, len(page), limit)
			for _, h := range page {
				got = append(got, h.OrderID)
			}
			after = next
		}
		assert.Equal(t, want, got)
	}
	for _, limit := range []int{0, gateway.MaxPage + 1} {
		_, _, err := s.Ledger(t.Context(), "", limit)
		assert.Error(t, err)
	}
}
