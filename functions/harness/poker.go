package main

import (
	"context"
	"sync"

	"example.com/orders/functions/internal/messaging/poke"
)

// poker wakes the relay of one schema in this process, and runs its dispatcher.
type poker struct {
	*poke.Poker
	dispatch func(ctx context.Context) // until ctx ends
	done     sync.WaitGroup
}

func newPoker(deliver poke.Deliver, dispatch func(ctx context.Context)) *poker {
	// A failed round needs no log line: the sweep logs the errors that it meets.
	return &poker{Poker: poke.New("/harness", deliver, nil), dispatch: dispatch}
}

// run relays until ctx ends; wait returns when the last round is over.
func (p *poker) run(ctx context.Context) {
	p.done.Go(func() { p.Run(ctx) })
	p.done.Go(func() { p.dispatch(ctx) })
}

func (p *poker) wait() { p.done.Wait() }
