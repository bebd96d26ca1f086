// Package health checks whether the dependencies of a program work. Concurrent callers share one check of a dependency, and
// every answer comes within a bound, even if the dependency hangs.
package health

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Within bounds the wait for an answer.
const Within = 2 * time.Second

// ErrHangs means that a dependency did not answer within Within.
var ErrHangs = errors.New("gives no answer within " + Within.String())

// failureKept is how long a failure is cached: many callers ask often about a dependency that is down.
const failureKept = 100 * time.Millisecond

// Check checks one dependency, once for all concurrent callers.
type Check struct {
	// Ask returns nil if the dependency works.
	Ask func(context.Context) error
	// Kept is how long a success is cached. With zero a caller gets no check that began before its call: a caller that saw a
	// failure is not answered with an older success.
	Kept time.Duration

	mu     sync.Mutex
	latest *answer
}

// answer is the result of one check.
type answer struct {
	begun time.Time
	given chan struct{} // closed when err and at are set
	err   error
	at    time.Time
}

// Err returns nil if the dependency works, and ErrHangs if it does not answer in time.
func (c *Check) Err(ctx context.Context) error {
	wanted := time.Now()
	timer := time.NewTimer(Within)
	defer timer.Stop()
	for {
		a := c.asked()
		select {
		case <-a.given:
			if a.err != nil || c.Kept > 0 || !a.begun.Before(wanted) {
				return a.err
			}
		case <-timer.C:
			return ErrHangs
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// asked returns a fresh answer, or the pending check, or starts a new one.
func (c *Check) asked() *answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.latest != nil && !c.latest.stale(c.Kept) {
		return c.latest
	}
	a := &answer{begun: time.Now(), given: make(chan struct{})}
	c.latest = a
	go func() {
		// Not the ctx of one caller: the answer is for all.
		ctx, cancel := context.WithTimeout(context.Background(), Within)
		defer cancel()
		a.err = c.Ask(ctx)
		if a.err != nil && ctx.Err() != nil {
			a.err = ErrHangs
		}
		a.at = time.Now()
		close(a.given)
	}()
	return a
}

// stale returns whether an answer was given too long ago.
func (a *answer) stale(kept time.Duration) bool {
	select {
	case <-a.given:
	default:
		return false
	}
	if a.err != nil {
		kept = failureKept
	}
	return time.Since(a.at) >= kept
}

// All runs several checks at once and returns the errors of those that fail, within half a second more than Within.
func All(ctx context.Context, things map[string]func(context.Context) error) map[string]error {
	type one struct {
		name string
		err  error
	}
	answers := make(chan one, len(things)) // with room for answers that come too late
	failed := map[string]error{}
	for name, ask := range things {
		failed[name] = ErrHangs
		go func() { answers <- one{name, ask(ctx)} }()
	}
	timer := time.NewTimer(Within + 500*time.Millisecond)
	defer timer.Stop()
	for range things {
		select {
		case a := <-answers:
			failed[a.name] = a.err
			if a.err == nil {
				delete(failed, a.name)
			}
		case <-timer.C:
			return failed
		}
	}
	return failed
}

// Pause returns the wait before a reading that took this long is repeated: at least every, and at least times the duration,
// which bounds its share of the time. A failed reading spent its time waiting and is repeated soon, so that a recovery is
// noticed quickly.
func Pause(every time.Duration, times int, took time.Duration, err error) time.Duration {
	if err != nil {
		return every
	}
	return max(every, time.Duration(times)*took)
}
