// Package admission bounds how many orders are under way. Work beyond what can end in time is refused at once, while the
// accepted orders keep their turn: however many orders arrive, as many end as the system can do, and each of them soon.
package admission

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	"example.com/orders/functions/internal/observe/metrics"
)

// ErrBusy means that an order was refused since too many are under way. It may be sent again after Gate.Again.
var ErrBusy = errors.New("too many orders are under way")

// Options configures a Gate.
type Options struct {
	// MaxWait is how long an accepted order may take to its end while the system is overloaded.
	MaxWait time.Duration
	// Look reads which orders are under way, for all processes together.
	Look func(ctx context.Context) (Sample, error)
	// Function is the name of the function that asks, for the log and the metrics.
	Function string
	Log      *slog.Logger
	Metrics  *metrics.Metrics // may be nil
}

// Horizon is how old an order may be to be in a Sample: an older one is stuck, as in an outage, and says nothing about load.
func (o Options) Horizon() time.Duration { return 2 * o.MaxWait }

// Sample has the orders that are under way at one time.
type Sample struct {
	// From is the lowest id that the sample covers.
	From string
	// IDs has the orders younger than Options.Horizon, newest first; ids sort by time.
	IDs []string
	// Recent is how many of them are younger than Options.MaxWait.
	Recent int
	// Oldest is the age of the oldest of them, 0 without one.
	Oldest time.Duration
}

// Gate admits an order while fewer than its limit are under way. By Little's law the wait of a new order is the number before
// it divided by how many end per second. So the limit is what ends within 0.6 of MaxWait. The rest is for the line, for
// what follows the commit of an order's end, and for all that is uneven: batches, pauses, and what other processes admit between
// two samples.
//
// The number is read from the database, since every process has to see the orders of all, and counted on between two samples.
// Only orders of the last MaxWait count: when nothing ends at all, as while Kafka is away, orders are still accepted at up to
// 0.6 of the known speed, and stored until it is back.
//
// A nil Gate admits everything.
type Gate struct {
	o        Options
	interval time.Duration // between samples while orders are many

	closed   chan struct{}
	watchers sync.WaitGroup

	mu       sync.Mutex
	limit    float64
	speed    float64 // how many orders end per second
	seen     Sample
	sampled  time.Time // when the latest sample began
	ended    time.Time // when the latest sample began that missed orders of the one before
	entered  int       // orders admitted that have not left
	stored   int       // orders that were stored since the latest sample began
	most     int       // the most orders under way since then
	line     []*waiter // in order of arrival
	watching bool
	asked    time.Time // when Enter was last called
	blind    bool      // whether the latest sample failed
	refusing refusing
}

// waiter is an order that waits for its turn.
type waiter struct{ admitted chan struct{} }

// refusing is a time in which orders are refused; n is 0 outside of one.
type refusing struct {
	n           int
	since, last time.Time
}

const (
	// lowest is the lowest limit. Below it nothing is learned: so few orders are under way without a queue, too.
	lowest = 64
	// first is the limit before anything is known. A system that ends 100 orders per second keeps a MaxWait of a second
	// even in the first flood.
	first = 100
	// Highest is the highest limit, and how many ids a sample needs at most.
	Highest = 10_000
	// calm is how many times MaxWait no order is refused before the log says that it is over.
	calm = 5
)

// New returns a gate. Close ends it.
func New(o Options) *Gate {
	o.Metrics.AddAdmission(o.Function, first)
	return &Gate{o: o, interval: o.MaxWait / 10, closed: make(chan struct{}), limit: first, speed: first / (share * o.MaxWait.Seconds())}
}

// Close ends what the gate does in the background. Enter may still be called.
func (g *Gate) Close() {
	if g == nil {
		return
	}
	g.mu.Lock()
	select {
	case <-g.closed:
	default:
		close(g.closed)
	}
	g.mu.Unlock()
	g.watchers.Wait()
}

// Again is when a refused order should be sent again.
func (g *Gate) Again() time.Duration { return g.o.MaxWait }

// Enter admits an order, or returns ErrBusy. leave must be called once the order is stored, or will not be. Orders enter in
// the order of their arrival. A few wait in line, for a quarter of MaxWait at most, so that clients which wait for each answer
// slow down instead of being refused; the error is that of ctx if it ends meanwhile.
func (g *Gate) Enter(ctx context.Context) (leave func(stored bool), err error) {
	if g == nil {
		return func(bool) {}, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked = time.Now()
	g.watch()
	if len(g.line) == 0 && g.free() {
		return g.admit(), nil
	}
	if float64(len(g.line)) >= g.limit/4 {
		return nil, g.refuse()
	}
	w := &waiter{make(chan struct{})}
	g.line = append(g.line, w)
	g.mu.Unlock()
	timer := time.NewTimer(g.o.MaxWait / 4)
	defer timer.Stop()
	select {
	case <-w.admitted:
	case <-timer.C:
		err = ErrBusy
	case <-ctx.Done():
		err = ctx.Err()
	}
	g.mu.Lock()
	n := slices.Index(g.line, w)
	if n < 0 {
		return g.leave, nil // admitted, if only at the last moment
	}
	g.line = slices.Delete(g.line, n, n+1)
	if errors.Is(err, ErrBusy) {
		err = g.refuse()
	}
	return nil, err
}

func (g *Gate) admit() func(bool) {
	g.entered++
	g.most = max(g.most, g.underWay())
	g.o.Metrics.CountAdmitted(g.o.Function)
	return g.leave
}

func (g *Gate) leave(stored bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.entered--
	if stored {
		g.stored++
	}
	g.callIn()
}

func (g *Gate) underWay() int { return g.seen.Recent + g.entered + g.stored }

func (g *Gate) free() bool { return float64(g.underWay()) < g.limit }

// callIn admits those in line for whom there is room.
func (g *Gate) callIn() {
	for len(g.line) > 0 && g.free() {
		g.admit()
		close(g.line[0].admitted)
		g.line = g.line[1:]
	}
}

func (g *Gate) refuse() error {
	now := time.Now()
	if g.refusing.n == 0 {
		g.refusing.since = now
		g.o.Log.Warn("orders are refused: too many are under way", "function", g.o.Function,
			"under_way", g.underWay(), "limit", int(g.limit), "oldest", g.seen.Oldest)
	}
	g.refusing.n++
	g.refusing.last = now
	g.o.Metrics.CountLimited(metrics.LimitedOverload)
	return ErrBusy
}

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
	g.watching, g.seen, g.stored = false, Sample{}, 0
	g.o.Metrics.SetAdmission(g.o.Function, int(g.limit), g.underWay(), 0)
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
	stored := g.stored
	g.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), g.o.MaxWait)
	defer cancel()
	sample, err := g.o.Look(ctx)

	g.mu.Lock()
	defer g.mu.Unlock()
	g.sampled = began
	if err != nil {
		// What was seen says less and less, and must not refuse orders for ever: the orders that wait for their commit
		// still count.
		if !g.blind {
			g.o.Log.Warn("cannot count the orders that are under way", "function", g.o.Function, "error", err)
		}
		g.blind, g.seen, g.stored = true, Sample{}, 0
	} else {
		g.learn(ended(g.seen, sample, stored), began)
		g.blind, g.seen, g.stored = false, sample, g.stored-stored
	}
	g.most = g.underWay()
	g.o.Metrics.SetAdmission(g.o.Function, int(g.limit), g.underWay(), g.seen.Oldest)
	g.callIn()
}

// ended counts the orders that have ended between two samples; stored is how many this process has stored meanwhile, some of
// which have ended as well.
func ended(before, after Sample, stored int) (n int) {
	rest, kept := after.IDs, 0
	for _, id := range before.IDs {
		if id < after.From {
			break // too old to be in the second one
		}
		for len(rest) > 0 && rest[0] > id {
			rest = rest[1:]
		}
		if len(rest) > 0 && rest[0] == id {
			kept++
		} else {
			n++
		}
	}
	return n + max(0, stored-(len(after.IDs)-kept))
}

// learn adapts the speed and the limit to how many orders have ended since the latest sample in which any had. The system can do
// at least that, so both may grow. They shrink only if the queue takes too long: without one, as many end as arrive, which says
// nothing about how many could. A pause longer than MaxWait is an outage, and says nothing either.
func (g *Gate) learn(n int, now time.Time) {
	if n == 0 {
		return
	}
	gap := now.Sub(g.ended)
	g.ended = now
	if gap > g.o.MaxWait {
		return
	}
	queue, wait := float64(g.most), g.o.MaxWait.Seconds()
	after := func(span float64) (weight float64) { return 1 - math.Exp(-gap.Seconds()/(span*wait)) }
	late := func(share float64) bool { return g.most >= lowest && queue > g.speed*wait*share }
	if speed := float64(n) / gap.Seconds(); speed > g.speed || g.most >= lowest && queue > speed*wait*share {
		g.speed += after(speedSpan) * (speed - g.speed)
	}
	fits := g.speed * wait * share
	switch {
	case fits > g.limit:
		g.limit = fits
	case late(tooLate):
		g.limit += after(lateSpan) * (fits - g.limit)
	case late(share):
		g.limit += after(slowSpan) * (fits - g.limit)
	}
	g.limit = min(max(g.limit, lowest), Highest)
}

const (
	// share is the part of MaxWait in which what is under way is to end.
	share = 0.6
	// tooLate is the part within which it must end: a wait in line may come before.
	tooLate = 0.75
	// speedSpan is how many times MaxWait the speed takes to forget all but a third of the past.
	speedSpan = 1
	// lateSpan is the same of the limit if orders take longer than they must, and slowSpan if they take longer than they are to.
	// That is slow, since a lower limit does not help where an order takes that long without a queue, as on a machine that others
	// use: fewer would end, and the limit would fall with them.
	lateSpan, slowSpan = 0.5, 30
)
