// Package groupcommit runs calls that wait at the same time together, as one transaction for all of them. Calls go in
// one by one; each gets its own result out. A call that comes alone runs alone and at once.
package groupcommit

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Result is what became of one call.
type Result[Out any] struct {
	Out Out
	Err error
}

// Group gathers calls. Its zero value is not usable: see New.
type Group[In, Out any] struct {
	size     int
	parallel int
	timeout  time.Duration
	run      func(context.Context, []In) []Result[Out]

	mu      sync.Mutex
	waiting []call[In, Out]
	running int
}

type call[In, Out any] struct {
	in   In
	done chan Result[Out] // has room for the result, so that nobody need wait for it
}

// New returns a group that runs at most size calls at once, and at most so many such runs in parallel. Beside a run that
// is under way another begins only for size calls: what waits for it is the next run, and a larger one. run returns one
// result a call, in their order, within timeout; it gets a context of its own, since it works for many.
func New[In, Out any](size, parallel int, timeout time.Duration, run func(context.Context, []In) []Result[Out]) *Group[In, Out] {
	return &Group[In, Out]{size: size, parallel: parallel, timeout: timeout, run: run}
}

// Do runs a call with those that wait at the same time, and returns its result. When ctx ends first the error is that
// of ctx, and the call may still be carried out.
func (g *Group[In, Out]) Do(ctx context.Context, in In) (Out, error) {
	c := call[In, Out]{in: in, done: make(chan Result[Out], 1)}
	g.mu.Lock()
	g.waiting = append(g.waiting, c)
	if g.running == 0 || (g.running < g.parallel && len(g.waiting) >= g.size) {
		g.running++
		go g.work(context.WithoutCancel(ctx))
	}
	g.mu.Unlock()
	select {
	case r := <-c.done:
		return r.Out, r.Err
	case <-ctx.Done():
		var none Out
		return none, ctx.Err()
	}
}

// work runs what waits until nothing does.
func (g *Group[In, Out]) work(ctx context.Context) {
	for {
		calls := g.take()
		if calls == nil {
			return
		}
		in := make([]In, len(calls))
		for i, c := range calls {
			in[i] = c.in
		}
		for i, r := range g.attempt(ctx, in) {
			calls[i].done <- r
		}
	}
}

// take returns the calls of the next run, nil when there are none, which ends this worker.
func (g *Group[In, Out]) take() []call[In, Out] {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := min(len(g.waiting), g.size)
	if n == 0 {
		g.running--
		g.waiting = nil
		return nil
	}
	calls := g.waiting[:n:n]
	g.waiting = g.waiting[n:]
	return calls
}

// attempt runs calls; a panic is the error of each of them.
func (g *Group[In, Out]) attempt(ctx context.Context, in []In) (results []Result[Out]) {
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	defer func() {
		p := recover()
		if p == nil && len(results) == len(in) {
			return
		}
		err := fmt.Errorf("%d results for %d calls", len(results), len(in))
		if p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
		results = make([]Result[Out], len(in))
		for i := range results {
			results[i].Err = err
		}
	}()
	return g.run(ctx, in)
}
