package base

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/messaging/poke"
	"example.com/orders/functions/internal/web/identity"
)

// remotePoke pokes a relay in another process, at OUTBOX_POKE_URL and with the token that it asks for, until it is stopped. It
// never waits for the relay. It logs the first failure and the recovery.
func (b *Base) remotePoke(config map[string]string) (outbox.Poke, func(), error) {
	token, err := identity.NewToken(config, "OUTBOX_POKE_TOKEN", "SINK_TOKEN")
	if err != nil {
		return nil, nil, err
	}
	deliver, err := poke.HTTP(strings.ReplaceAll(config["OUTBOX_POKE_URL"], "{schema}", b.Schema), token)
	if err != nil {
		return nil, nil, fmt.Errorf("OUTBOX_POKE_URL: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	failing := false
	p := poke.New("/"+b.Name, deliver, func(err error) {
		switch {
		case ctx.Err() != nil: // stopping is not a failure of the relay
		case err != nil && !failing:
			b.Log.Warn("cannot poke the relay, its sweep will send the events", "function", b.Name, "error", err)
			failing = true
		case err == nil && failing:
			b.Log.Info("poking the relay works again", "function", b.Name)
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
