package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// ErrFailed is the error of a simulated gateway that fails as its scenario says.
var ErrFailed = errors.New("the simulated payment gateway failed on purpose")

// Simulated is a gateway in this process, on a book that is in memory. If the scenario loses an answer, the call waits for
// the end of its ctx.
type Simulated struct {
	Scenario Scenario
	Book     *Book
	// Kept, if set, returns when all that the book has recorded so far is safe. Every answer waits for it.
	Kept func(context.Context) error

	mu     sync.Mutex
	failed map[string]bool // the keys of calls that failed before any effect
}

// NewSimulated returns a gateway with a book of its own. The book is lost with the process, so a refund that names the
// reference of its authorization is paid all the same. Several processes that simulate agree as long as an authorization and
// its refund reach the same one, or the refund knows the reference; use a gateway by HTTP where that is not so.
func NewSimulated(s Scenario) *Simulated {
	return &Simulated{Scenario: s, Book: &Book{Trusting: true}}
}

// Authorize implements Gateway.
func (s *Simulated) Authorize(ctx context.Context, a Authorization) (Answer, error) {
	f := s.Scenario.authorization(a)
	return s.act(ctx, a.Key, f, func() (Answer, bool, error) { return s.Book.Authorize(a, f.decline) })
}

// Refund implements Gateway.
func (s *Simulated) Refund(ctx context.Context, r Refund) (Answer, error) {
	return s.act(ctx, r.Key, s.Scenario.call(r.Key, r.Amount), func() (Answer, bool, error) { return s.Book.Refund(r) })
}

// act lets half of the latency pass before the effect and half of it after, so that callers give up on either side of it.
func (s *Simulated) act(ctx context.Context, key string, f fate, effect func() (Answer, bool, error)) (Answer, error) {
	if err := pass(ctx, f.latency/2); err != nil {
		return Answer{}, err
	}
	if f.mishap == failsBefore && s.failsNow(key) {
		return Answer{}, fmt.Errorf("%w, before any effect", ErrFailed)
	}
	answer, fresh, err := effect()
	if err != nil {
		return Answer{}, err
	}
	if err := s.kept(ctx); err != nil {
		return Answer{}, err
	}
	if err := pass(ctx, f.latency-f.latency/2); err != nil {
		return Answer{}, err
	}
	switch {
	case fresh && f.mishap == losesAnswer:
		<-ctx.Done()
		return Answer{}, fmt.Errorf("the simulated payment gateway lost its answer on purpose: %w", ctx.Err())
	case fresh && f.mishap == failsAfter:
		return Answer{}, fmt.Errorf("%w, after the effect", ErrFailed)
	}
	return answer, nil
}

// failsNow returns whether a call with the key has not failed before.
func (s *Simulated) failsNow(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = map[string]bool{}
	}
	again := s.failed[key]
	s.failed[key] = true
	return !again
}

// Lookup implements Gateway. The key is one of AuthorizationKey or RefundKey.
func (s *Simulated) Lookup(ctx context.Context, key string) (Answer, error) {
	of, err := kindOf(key)
	if err != nil {
		return Answer{}, err
	}
	if of == ofRefund {
		return s.LookupRefund(ctx, key)
	}
	return s.LookupAuthorization(ctx, key)
}

// LookupAuthorization returns what became of an authorization, whatever its key looks like.
func (s *Simulated) LookupAuthorization(ctx context.Context, key string) (Answer, error) {
	return s.look(ctx, key, s.Book.Authorization)
}

// LookupRefund returns what became of a refund, whatever its key looks like.
func (s *Simulated) LookupRefund(ctx context.Context, key string) (Answer, error) {
	return s.look(ctx, key, s.Book.RefundOf)
}

func (s *Simulated) look(ctx context.Context, key string, find func(string) (Answer, error)) (Answer, error) {
	if err := pass(ctx, s.Scenario.Latency); err != nil {
		return Answer{}, err
	}
	answer, err := find(key)
	if err == nil {
		err = s.kept(ctx)
	}
	return answer, err
}

// Ledger implements the interface Ledger.
func (s *Simulated) Ledger(ctx context.Context, after string, limit int) (page []Holding, next string, err error) {
	if limit < 1 || limit > MaxPage {
		return nil, "", fmt.Errorf("a page of the ledger has 1 to %d orders, not %d", MaxPage, limit)
	}
	page = s.Book.Holdings(after, limit+1)
	if len(page) > limit {
		page = page[:limit]
		next = page[limit-1].OrderID
	}
	return page, next, s.kept(ctx)
}

func (s *Simulated) kept(ctx context.Context) error {
	if s.Kept == nil {
		return nil
	}
	return s.Kept(ctx)
}

// kind tells authorizations from refunds.
type kind int

const (
	ofAuthorization kind = iota
	ofRefund
)

// kindOf returns what a key of AuthorizationKey or RefundKey belongs to.
func kindOf(key string) (kind, error) {
	switch {
	case strings.HasSuffix(key, authorizeSuffix):
		return ofAuthorization, nil
	case strings.HasSuffix(key, refundSuffix):
		return ofRefund, nil
	}
	return 0, notAsked{fmt.Errorf("the key %q ends neither in %s nor in %s", key, authorizeSuffix, refundSuffix)}
}

// pass lets a time pass.
func pass(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
