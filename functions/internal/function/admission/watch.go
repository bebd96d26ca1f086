package admission

import (
	"context"
	"slices"
	"time"
)

// watch has samples taken while orders come.
func (g *Gate) watch() {
	if g.watching {
		return
	}
	select {
	case <-g.closed:
		return
	default:
	}
	g.watching = true
	g.watchers.Go(func() {
		tick := time.NewTicker(g.interval)
		defer tick.Stop()
		for g.needed() {
			if g.due() {
				g.look()
			}
			select {
			case <-tick.C:
			case <-g.closed:
				return
			}
		}
	})
}

// needed returns whether orders still come, and forgets what is under way when none have come for long. It also says when
// orders are no longer refused.
func (g *Gate) needed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if r := g.refusing; r.n > 0 && now.Sub(r.last) > calm*g.o.MaxWait {
		g.o.Log.Info("orders are no longer refused", "function", g.o.Function, "refused", r.n, "for", r.last.Sub(r.since))
		g.refusing = refusing{}
	}
	if g.refusing.n > 0 || len(g.line) > 0 || now.Sub(g.asked) <= g.o.Horizon() {
		return true
	}
	g.watching = false
	g.see(Sample{}, nil, now)
	return false
}

// due returns whether a sample is needed: at every tick while orders are many, else once per MaxWait.
func (g *Gate) due() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.underWay() >= lowest/2 || time.Since(g.sampled) >= g.o.MaxWait
}

// look takes a sample.
func (g *Gate) look() {
	began := time.Now()
	g.mu.Lock()
	before := len(g.stored) // whose commits the sample sees
	g.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), g.o.MaxWait)
	defer cancel()
	sample, err := g.o.Look(ctx)

	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		// What was seen says less and less, and must not refuse orders for ever: the orders that wait for their commit
		// still count.
		if !g.blind {
			g.o.Log.Warn("cannot count the orders that are under way", "function", g.o.Function, "error", err)
		}
		g.blind, g.sampled = true, began
		g.see(Sample{}, nil, began)
		return
	}
	there := make(map[string]bool, len(sample.Orders))
	for _, o := range sample.Orders {
		there[o.ID] = true
	}
	gap := began.Sub(g.sampled)
	past := interval{end: began, full: g.full}
	for _, id := range g.stored[:before] {
		if id >= sample.From && !there[id] {
			past.ended++
		}
	}
	for _, o := range g.seen.Orders {
		if o.ID >= sample.From && !there[o.ID] {
			past.ended++
			past.took += o.Age + gap/2
			if o.Age+gap > g.pace.due() {
				past.late++
			}
		}
	}
	if past.ended > 0 {
		g.ended = began
	}
	g.pace.learn(past)
	g.full = len(g.line) > 0
	g.blind, g.sampled = false, began
	g.see(sample, slices.DeleteFunc(g.stored[before:], func(id string) bool { return there[id] }), began)
	g.callIn()
}

// see makes a sample what is known, besides orders that were stored meanwhile.
func (g *Gate) see(s Sample, stored []string, began time.Time) {
	g.seen, g.stored, g.counted = s, stored, len(s.Orders)
	if began.Sub(g.ended) > g.o.MaxWait { // an outage
		g.counted = 0
		for g.counted < len(s.Orders) && s.Orders[g.counted].Age < g.o.MaxWait {
			g.counted++
		}
	}
	g.o.Metrics.SetAdmission(g.o.Function, g.pace.limit(), g.underWay(), s.oldest())
}

func (s Sample) oldest() time.Duration {
	if len(s.Orders) == 0 {
		return 0
	}
	return s.Orders[len(s.Orders)-1].Age
}
