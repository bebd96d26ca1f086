package simulation

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/function/saga"
	"example.com/orders/functions/internal/messaging/outbox"
)

// holdFor is how long relays leave a row to its dispatcher: some steps of a run.
const holdFor = 90 * time.Second

// dispatching is the process in which the functions of a schema run, as far as it publishes their events from memory.
type dispatching struct {
	bed        *bed
	schema     string
	functions  []*base.Base
	dispatcher *outbox.Dispatcher
}

// restart begins a process, with nothing in memory.
func (d *dispatching) restart(ctx context.Context, r *run) {
	d.dispatcher = outbox.NewDispatcher(holdFor, func() time.Time { return r.now }, func(...uint8) {})
	if err := d.dispatcher.Open(ctx, outbox.Relay{DB: d.bed.pools[d.schema]}); err != nil {
		r.violate("open the dispatcher of %s: %v", d.schema, err)
	}
	recent := saga.NewRecent()
	for _, f := range d.functions {
		f.Dispatcher, f.Recent = d.dispatcher, recent
	}
}

// dispatch decides what comes of the events that the process of each schema has committed and not published yet.
func (r *run) dispatch(ctx context.Context) {
	for _, name := range slices.Sorted(maps.Keys(r.bed.dispatchers)) {
		d := r.bed.dispatchers[name]
		switch n := r.random.IntN(100); {
		case !r.faulty || n < 55: // at once
			r.flush(ctx, d)
		case n < 65:
			r.relay(ctx, name)
			r.flush(ctx, d)
		case n < 75:
			d.restart(ctx, r)
			r.logf("the process of %s dies", name)
		}
	}
}

// flush publishes and marks what is in memory.
func (r *run) flush(ctx context.Context, d *dispatching) {
	m := r.bed.members["publish-outbox-"+d.schema]
	_, died := r.within(ctx, m.name, func(ctx context.Context) error {
		d.dispatcher.Flush(ctx, outbox.Relay{DB: m.db, Publisher: publisher{r.bed}, Now: func() time.Time { return r.now }, Schema: d.schema}, slog.New(slog.DiscardHandler))
		return nil
	})
	if died {
		d.restart(ctx, r)
		r.logf("the process of %s dies while it publishes", d.schema)
	}
}
