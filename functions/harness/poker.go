package main

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"

	"example.com/orders/functions/internal/outbox"
	"example.com/orders/functions/publishoutbox"
)

// poker wakes the relay of one schema: it hands publish-outbox an event that names the shards with new rows. Pokes that
// come while it relays become one more round.
type poker struct {
	deliver func(context.Context, event.Event) error
	pending atomic.Uint32 // one bit a shard
	wake    chan struct{}
	done    sync.WaitGroup
}

func newPoker(deliver func(context.Context, event.Event) error) *poker {
	return &poker{deliver: deliver, wake: make(chan struct{}, 1)}
}

// poke notes that shards have new rows; it never waits.
func (p *poker) poke(shards ...uint8) {
	for _, shard := range shards {
		p.pending.Or(1 << shard)
	}
	select {
	case p.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// run relays until ctx ends; wait returns when the last round is over.
func (p *poker) run(ctx context.Context) {
	p.done.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-p.wake:
			}
			if set := p.pending.Swap(0); set != 0 {
				// When it fails the rows stay, and the sweep of the PingSource tries again: here it would be a tight loop.
				_ = p.deliver(ctx, poke(set))
			}
		}
	})
}

// poke is the event that names the shards of a set.
func poke(set uint32) event.Event {
	var shards []int
	for shard := range outbox.Shards {
		if set&(1<<shard) != 0 {
			shards = append(shards, shard)
		}
	}
	e := event.New()
	e.SetType(publishoutbox.PokeType)
	e.SetSource("/harness")
	e.SetID(uuid.NewString())
	e.SetDataContentType(event.ApplicationJSON)
	e.DataEncoded, _ = json.Marshal(map[string][]int{"shards": shards}) // numbers encode
	return e
}

func (p *poker) wait() { p.done.Wait() }
