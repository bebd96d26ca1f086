package base

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/messaging/poke"
)

// remotePoke pokes a relay in another process until it is stopped. It never waits for the relay: the first failure and
// the recovery are logged.
func (b *Base) remotePoke(template string) (outbox.Poke, func(), error) {
	deliver, err := poke.HTTP(strings.ReplaceAll(template, "{schema}", b.Schema))
	if err != nil {
		return nil, nil, fmt.Errorf("OUTBOX_POKE_URL: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	failing := false
	p := poke.New("/"+b.Name, deliver, func(err error) {
		switch {
		case ctx.Err() != nil: // the end of this process is nobody's failure
		case err != nil && !failing:
			b.Log.Warn("the relay cannot be poked, its sweep sends the events", "function", b.Name, "error", err)
			failing = true
		case err == nil && failing:
			b.Log.Info("the relay can be poked again", "function", b.Name)
			failing = false
		}
	})
	var running sync.WaitGroup
	running.Go(func() { p.Run(ctx) })
	stop := func() {
		cancel()
		running.Wait()
	}
	return func(_ string, shards ...uint8) { p.Poke(shards...) }, stop, nil
}
