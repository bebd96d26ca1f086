// Package health asks whether the things that a program depends on work. What asks one of them goes in; an answer within a
// bound comes out for everybody who wants to know, whatever hangs.
package health

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Within bounds the wait for an answer.
const Within = 2 * time.Second

// ErrHangs is the answer of what has not given one within Within.
var ErrHangs = errors.New("gives no answer within " + Within.String())

// failureKept is how long a failure answers for itself: many who wait for a thing that is away ask it often.
const failureKept = 100 * time.Millisecond

// Check asks one thing, once for all who want to know at the same time.
type Check struct {
	// Ask returns nil when the thing works.
	Ask func(context.Context) error
	// Kept is how long it is taken to work after it said so. With zero it is asked after everybody who wants to know:
	// whoever saw it fail is not told that it worked before.
	Kept time.Duration

	mu     sync.Mutex
	latest *answer
}

// answer is what comes of asking once.
type answer struct {
	begun time.Time
	given chan struct{} // closed when err and at are set
	err   error
	at    time.Time
}

// Err is nil when the thing works, and ErrHangs when it does not say so in time.
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

// asked returns the answer that is good, or that is waited for already, or asks for a new one.
func (c *Check) asked() *answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.latest != nil && !c.latest.stale(c.Kept) {
		return c.latest
	}
	a := &answer{begun: time.Now(), given: make(chan struct{})}
	c.latest = a
	go func() {
		// Not that of one who asked: the answer is for all.
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

// stale tells whether an answer was given, and too long ago.
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

// All asks several things at once and returns why those that do not work do not, within half a second more than Within.
func All(ctx context.Context, things map[string]func(context.Context) error) map[string]error {
	type one struct {
		name string
		err  error
	}
	answers := make(chan one, len(things)) // with room for those that nobody waits for any more
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

// Pause is how long to wait before something is read anew that took so long: at least every, and so many times as long as the
// reading, which takes no more than its share of the time then. One that failed has spent its time waiting and is tried
// again soon: what is well again is not taken to be in trouble for long.
func Pause(every time.Duration, times int, took time.Duration, err error) time.Duration {
	if err != nil {
		return every
	}
	return max(every, time.Duration(times)*took)
}
