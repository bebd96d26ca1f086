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
	// Singles is the number of calls of a failed batch that run again at the same time; 0 is 1, in their order.
	Singles int
	// Timeout bounds a batch, and AloneTimeout a call of a failed batch that is run again by itself.
	Timeout, AloneTimeout time.Duration
}

// Collector forms batches of the calls that wait at the same time. A call that comes alone runs alone and at once.
type Collector[In, Out any] struct {
	o   Options
	run Run[In, Out]

	mu      sync.Mutex
	waiting []Call[In, Out]
	running int
}

// Call is a call of a caller that does not wait for it.
type Call[In, Out any] struct {
	// Ctx is the caller's: a call whose ctx has ended before its turn came is not run.
	Ctx context.Context //nolint:containedctx // it travels with its call
	In  In
	// Done is called once, from a goroutine of the collector's, and must not block: with the result, or with the error of
	// Ctx when the call was not run.
	Done func(Out, error)
}

// Run handles the calls of a batch, and returns one result a call, in their order. Its error, or panic, says nothing about a
// single one of them. So they are run again, each by itself and beside the next batches: alone is true then, and the error is
// that of the call. A batch must not wait long for what concerns one of its calls, since others wait for it, a batch of one
// call included; alone it may.
//
// ctx has the values of the first call's. It ends after the timeout and not with that of a caller: a batch works for many.
type Run[In, Out any] func(ctx context.Context, in []In, alone bool) ([]Out, error)

// New returns a collector that handles batches by run.
func New[In, Out any](o Options, run Run[In, Out]) *Collector[In, Out] {
	return &Collector[In, Out]{o: o, run: run}
}

// Do runs a call and returns its result. When ctx ends first, the error is that of ctx: a call that still waits is not
// run then, and one in a batch under way may be carried out all the same.
func (c *Collector[In, Out]) Do(ctx context.Context, in In) (Out, error) {
	type result struct {
		out Out
		err error
	}
	done := make(chan result, 1)
	c.Submit(Call[In, Out]{ctx, in, func(out Out, err error) { done <- result{out, err} }})
	select {
	case r := <-done:
		return r.out, r.err
	case <-ctx.Done():
		var none Out
		return none, ctx.Err()
	}
}

// Submit makes calls and returns at once. Several of them are in one batch when none is under way.
func (c *Collector[In, Out]) Submit(calls ...Call[In, Out]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = append(c.waiting, calls...)
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
		if err := c.answer(calls, false); err != nil {
			c.oneByOne(calls)
		}
	}
}

// answer runs calls as one and answers them, unless that fails.
func (c *Collector[In, Out]) answer(calls []Call[In, Out], alone bool) error {
	results, err := c.attempt(calls, alone)
	if err != nil {
		return err
	}
	for i, call := range calls {
		call.Done(results[i], nil)
	}
	return nil
}

// oneByOne runs the calls of a batch that failed.
func (c *Collector[In, Out]) oneByOne(calls []Call[In, Out]) {
	next := make(chan Call[In, Out], len(calls))
	for _, call := range calls {
		next <- call
	}
	close(next)
	for range min(max(1, c.o.Singles), len(calls)) {
		go func() {
			for call := range next {
				c.alone(call)
			}
		}()
	}
}

func (c *Collector[In, Out]) alone(call Call[In, Out]) {
	err := call.Ctx.Err()
	if err == nil {
		err = c.answer([]Call[In, Out]{call}, true)
	}
	if err != nil {
		fail(call, err)
	}
}

// next returns the calls of the next batch, nil when none waits, which ends the worker.
func (c *Collector[In, Out]) next() []Call[In, Out] {
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
func live[In, Out any](calls []Call[In, Out]) []Call[In, Out] {
	alive := calls[:0]
	for _, call := range calls {
		if err := call.Ctx.Err(); err != nil {
			fail(call, err)
			continue
		}
		alive = append(alive, call)
	}
	return alive
}

func fail[In, Out any](call Call[In, Out], err error) {
	var none Out
	call.Done(none, err)
}

// attempt runs calls as one; a panic is their error.
func (c *Collector[In, Out]) attempt(calls []Call[In, Out], alone bool) (results []Out, err error) {
	timeout := c.o.Timeout
	if alone {
		timeout = c.o.AloneTimeout
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(calls[0].Ctx), timeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	in := make([]In, len(calls))
	for i, call := range calls {
		in[i] = call.In
	}
	if results, err = c.run(ctx, in, alone); err == nil && len(results) != len(in) {
		err = fmt.Errorf("%d results for %d calls", len(results), len(in))
	}
	return results, err
}
