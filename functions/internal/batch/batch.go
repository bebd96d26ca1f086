// Package batch runs calls that come at the same time as one. Calls go in one by one; each gets its own result out.
package batch

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Options are the bounds of a collector.
type Options struct {
	// Size is the number of calls in a batch, at most.
	Size int
	// Parallel is the number of batches under way at the same time, at most.
	Parallel int
	// Eager begins a batch beside those under way, up to Parallel, for any call that waits. Otherwise another one begins
	// only when it is full: what waits for the end of a batch becomes the next one, and a larger one.
	Eager bool
	// Timeout bounds a batch, and each of its calls when they are run again one by one.
	Timeout time.Duration
}

// singles bounds the calls of failed batches that run alone at the same time.
const singles = 8

// Collector forms batches of the calls that wait at the same time. A call that comes alone runs alone and at once.
type Collector[In, Out any] struct {
	o    Options
	run  func(ctx context.Context, in []In) ([]Out, error)
	solo chan struct{} // one token a call that runs alone after its batch failed

	mu      sync.Mutex
	waiting []call[In, Out]
	running int
}

type call[In, Out any] struct {
	ctx  context.Context //nolint:containedctx // the caller's: nobody waits for a call whose ctx has ended
	in   In
	done func(Out, error)
}

// New returns a collector that handles batches by run, which returns one result a call, in their order. An error of run
// says nothing about a single call of several: each of them is then run again by itself, and gets the error of that run.
// So does a panic of run. run gets a ctx with the values of the first call's, since it works for many: it ends after the
// timeout, and not with that of a caller.
func New[In, Out any](o Options, run func(ctx context.Context, in []In) ([]Out, error)) *Collector[In, Out] {
	return &Collector[In, Out]{o: o, run: run, solo: make(chan struct{}, singles)}
}

// Do runs a call and returns its result. When ctx ends first, the error is that of ctx: a call that still waits is not
// run then, and one in a batch under way may be carried out all the same.
func (c *Collector[In, Out]) Do(ctx context.Context, in In) (Out, error) {
	type result struct {
		out Out
		err error
	}
	done := make(chan result, 1)
	c.Submit(ctx, in, func(out Out, err error) { done <- result{out, err} })
	select {
	case r := <-done:
		return r.out, r.err
	case <-ctx.Done():
		var none Out
		return none, ctx.Err()
	}
}

// Submit is Do for a caller that does not wait. done is called once, from a goroutine of the collector's, and must not
// block: with the result, or with the error of a ctx that had ended before the call's turn came.
func (c *Collector[In, Out]) Submit(ctx context.Context, in In, done func(Out, error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = append(c.waiting, call[In, Out]{ctx, in, done})
	if c.running == 0 || c.running < c.o.Parallel && (c.o.Eager || len(c.waiting) >= c.o.Size) {
		c.running++
		go c.work()
	}
}

// work runs batches until no call waits.
func (c *Collector[In, Out]) work() {
	for calls := c.next(); calls != nil; calls = c.next() {
		if calls = live(calls); len(calls) == 0 {
			continue
		}
		results, err := c.attempt(calls)
		switch {
		case err == nil:
			for i, call := range calls {
				call.done(results[i], nil)
			}
		case len(calls) == 1:
			fail(calls[0], err)
		default:
			for _, call := range calls {
				go c.alone(call)
			}
		}
	}
}

// next returns the calls of the next batch, nil when none waits, which ends the worker.
func (c *Collector[In, Out]) next() []call[In, Out] {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(len(c.waiting), c.o.Size)
	if n == 0 {
		c.running--
		c.waiting = nil
		return nil
	}
	calls := c.waiting[:n:n]
	c.waiting = c.waiting[n:]
	return calls
}

// live answers the calls that nobody waits for any more, and returns the others.
func live[In, Out any](calls []call[In, Out]) []call[In, Out] {
	alive := calls[:0]
	for _, call := range calls {
		if err := call.ctx.Err(); err != nil {
			fail(call, err)
			continue
		}
		alive = append(alive, call)
	}
	return alive
}

// alone runs a call of a batch that failed.
func (c *Collector[In, Out]) alone(only call[In, Out]) {
	select {
	case c.solo <- struct{}{}:
		defer func() { <-c.solo }()
	case <-only.ctx.Done():
		fail(only, only.ctx.Err())
		return
	}
	results, err := c.attempt([]call[In, Out]{only})
	if err != nil {
		fail(only, err)
		return
	}
	only.done(results[0], nil)
}

func fail[In, Out any](call call[In, Out], err error) {
	var none Out
	call.done(none, err)
}

// attempt runs calls as one; a panic is their error.
func (c *Collector[In, Out]) attempt(calls []call[In, Out]) (results []Out, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(calls[0].ctx), c.o.Timeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	in := make([]In, len(calls))
	for i, call := range calls {
		in[i] = call.in
	}
	if results, err = c.run(ctx, in); err == nil && len(results) != len(in) {
		err = fmt.Errorf("%d results for %d calls", len(results), len(in))
	}
	return results, err
}
