// Package batch collects concurrent calls into batches. Each caller gets the result of its own call.
package batch

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Options bounds the batches of a Collector.
type Options struct {
	// Size is the maximum number of calls in a batch.
	Size int
	// Parallel is the maximum number of batches in flight.
	Parallel int
	// Eager starts another batch, up to Parallel, as soon as a call waits. Without it another batch starts only if it would
	// be full: calls that wait for the running batch form a larger one.
	Eager bool
	// Linger is how long a call that finds no batch running waits for others, unless they fill a batch; 0 lets it start at once.
	Linger time.Duration
	// Singles is how many calls of a failed batch are retried in parallel; 0 means 1, in order.
	Singles int
	// Timeout bounds a batch, and AloneTimeout the retry of a single call of a failed batch.
	Timeout, AloneTimeout time.Duration
}

// Collector forms batches of waiting calls. A call that finds no batch running starts at once, alone, unless it lingers.
type Collector[In, Out any] struct {
	o   Options
	run Run[In, Out]

	mu      sync.Mutex
	waiting []Call[In, Out]
	running int
	full    chan struct{} // signalled when enough calls for a batch wait, if calls linger
}

// Call is a call whose caller does not wait.
type Call[In, Out any] struct {
	// Ctx belongs to the caller: the call is skipped if Ctx ends while it waits.
	Ctx context.Context //nolint:containedctx // it travels with its call
	In  In
	// Done is called once, from a goroutine of the collector, and must not block. It gets the result, or the error of Ctx if
	// the call was skipped.
	Done func(Out, error)
}

// Run handles a batch of calls and returns one result per call, in order. An error or panic concerns the batch, not a single
// call, so each of its calls is then retried alone, in parallel with the next batches: alone is true, and the error is the
// call's own. A batch, even of one call, must not wait long for a lock that only one of its calls needs, since others wait
// for the batch; alone it may.
//
// ctx has the values of the first call's ctx. It ends after the timeout, not with a caller's ctx: a batch works for many
// callers.
type Run[In, Out any] func(ctx context.Context, in []In, alone bool) ([]Out, error)

// New returns a collector that handles batches with run.
func New[In, Out any](o Options, run Run[In, Out]) *Collector[In, Out] {
	return &Collector[In, Out]{o: o, run: run, full: make(chan struct{}, 1)}
}

// Do runs a call and returns its result. If ctx ends first, it returns the error of ctx: a waiting call is skipped, and a
// call in a running batch may still take effect.
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

// Submit adds calls and returns at once. They form one batch if none is running.
func (c *Collector[In, Out]) Submit(calls ...Call[In, Out]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = append(c.waiting, calls...)
	if c.running == 0 || c.running < c.o.Parallel && (c.o.Eager || len(c.waiting) >= c.o.Size) {
		c.running++
		go c.work()
	}
	if c.o.Linger > 0 && len(c.waiting) >= c.o.Size {
		select {
		case c.full <- struct{}{}:
		default:
		}
	}
}

// linger waits for more calls.
func (c *Collector[In, Out]) linger() {
	c.mu.Lock()
	select {
	case <-c.full: // of a batch before
	default:
	}
	enough := len(c.waiting) >= c.o.Size
	c.mu.Unlock()
	if enough {
		return
	}
	timer := time.NewTimer(c.o.Linger)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.full:
	}
}

// work runs batches until no call waits.
func (c *Collector[In, Out]) work() {
	if c.o.Linger > 0 {
		c.linger()
	}
	for calls := c.next(); calls != nil; calls = c.next() {
		if calls = live(calls); len(calls) == 0 {
			continue
		}
		if err := c.answer(calls, false); err != nil {
			c.oneByOne(calls)
		}
	}
}

// answer runs calls as a batch and answers them, unless the batch fails.
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

// oneByOne retries the calls of a failed batch.
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

// next returns the calls of the next batch. It returns nil if none waits, which ends the worker.
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

// live answers the calls whose ctx has ended, and returns the others.
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

// attempt runs calls as a batch, and turns a panic into an error.
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
