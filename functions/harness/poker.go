package main

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"

	"example.com/orders/functions/internal/outbox"
	"example.com/orders/functions/publishoutbox"
)

// poker wakes the relay of one schema: it hands publish-outbox an event for each shard that has new rows. Pokes that
// come while a shard is being relayed become one more round of it.
type poker struct {
	deliver func(context.Context, event.Event) error
	wake    [outbox.Shards]chan struct{}
	done    sync.WaitGroup
}

func newPoker(deliver func(context.Context, event.Event) error) *poker {
	p := &poker{deliver: deliver}
	for shard := range p.wake {
		p.wake[shard] = make(chan struct{}, 1)
	}
	return p
}

// poke notes that shards have new rows; it never waits.
func (p *poker) poke(shards ...uint8) {
	for _, shard := range shards {
		select {
		case p.wake[shard] <- struct{}{}:
		default: // it will be looked at anyway
		}
	}
}

// run relays until ctx ends; wait returns when the last round is over.
func (p *poker) run(ctx context.Context) {
	for shard := range p.wake {
		p.done.Go(func() {
			data, _ := json.Marshal(map[string][]int{"shards": {shard}}) // numbers encode
			for {
				select {
				case <-ctx.Done():
					return
				case <-p.wake[shard]:
				}
				e := event.New()
				e.SetType(publishoutbox.PokeType)
				e.SetSource("/harness")
				e.SetID(uuid.NewString())
				e.SetDataContentType(event.ApplicationJSON)
				e.DataEncoded = data
				// When it fails the rows stay, and the sweep of the PingSource tries again: here it would be a tight loop.
				_ = p.deliver(ctx, e)
			}
		})
	}
}

func (p *poker) wait() { p.done.Wait() }
