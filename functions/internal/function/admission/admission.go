// Package admission bounds how many orders are under way. Work beyond what can end in time is refused at once, while the
// accepted orders keep their turn: however many orders arrive, as many end as the system can do, and each of them soon.
package admission

import (
	"context"
	"errors"
	"log/slog"
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
func (o Options) Horizon() time.Duration { return 4 * o.MaxWait }

// part returns a part of MaxWait.
func (o Options) part(of float64) time.Duration { return time.Duration(of * float64(o.MaxWait)) }

// Sample has the orders that are under way at one time.
type Sample struct {
	// From is the lowest id that the sample covers.
	From string
	// Orders has the orders younger than Options.Horizon, newest first; ids sort by time.
	Orders []Order
}

// Order is an order that is under way.
type Order struct {
	ID  string
	Age time.Duration // since it was accepted
}

// Gate admits an order while fewer than its limit are under way, which follows from how many end per second: see pace. The
// others wait in a short line, or are refused.
//
// The number is read from the database, since every process has to see the orders of all, and counted on between two samples.
// While nothing ends at all, as without Kafka, only orders of the last MaxWait count, so that orders are still accepted at a part
// of the known speed, and stored until it is back.
//
// A nil Gate admits everything.
type Gate struct {
	o        Options
	interval time.Duration // between samples while orders are many

	closed   chan struct{}
	watchers sync.WaitGroup

	mu       sync.Mutex
	pace     pace
	seen     Sample
	counted  int       // how many of the orders in seen count
	sampled  time.Time // when the latest sample began
	ended    time.Time // when the latest sample began that missed orders of the one before
	entered  int       // orders admitted that have not left
	stored   []string  // the orders that were stored since the latest sample began
	full     bool      // whether an order found no room since the latest sample
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
	// Highest is the highest limit, and how many ids a sample needs at most.
	Highest = 10_000
	// inLine is the part of MaxWait that an order may wait in line, and lineOf the part of which it holds the orders.
	inLine, lineOf = 0.2, 0.15
	// leastLine is how many may wait in line in any case, and unknownLine before it is known how fast orders end: as many as the
	// clients of a closed loop that begin at once.
	leastLine, unknownLine = 16, 128
	// calm is how many times MaxWait no order is refused before the log says that it is over.
	calm = 5
)

// New returns a gate. Close ends it.
func New(o Options) *Gate {
	g := &Gate{o: o, interval: o.MaxWait / 20, closed: make(chan struct{}), pace: newPace(o.MaxWait)}
	o.Metrics.AddAdmission(o.Function, g.pace.limit())
	return g
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

// Full returns whether Enter would refuse an order at once. It is for callers that spare their own work then, and call Refuse
// instead of Enter.
func (g *Gate) Full() bool {
	if g == nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lineIsFull()
}

// Refuse counts an order that is refused since the gate is full.
func (g *Gate) Refuse() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked, g.full = time.Now(), true
	_ = g.refuse()
}

// Enter admits an order, or returns ErrBusy. leave must be called with the order's id once it is stored, or with an empty id if it
// will not be. Orders enter in the order of their arrival. A few wait in line, for a fifth of MaxWait at most, so that clients
// which wait for each answer slow down instead of being refused; the error is that of ctx if it ends meanwhile.
func (g *Gate) Enter(ctx context.Context) (leave func(id string), err error) {
	if g == nil {
		return func(string) {}, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked = time.Now()
	g.watch()
	if len(g.line) == 0 && g.free() {
		return g.admit(), nil
	}
	g.full = true
	if g.lineIsFull() {
		return nil, g.refuse()
	}
	w := &waiter{make(chan struct{})}
	g.line = append(g.line, w)
	g.mu.Unlock()
	timer := time.NewTimer(g.o.part(inLine))
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

// lineIsFull returns whether so many wait in line that another one might wait in vain.
func (g *Gate) lineIsFull() bool {
	if !g.pace.measured {
		return len(g.line) >= unknownLine
	}
	return len(g.line) >= max(leastLine, g.pace.within(g.o.part(lineOf)))
}

func (g *Gate) admit() func(string) {
	g.entered++
	g.o.Metrics.CountAdmitted(g.o.Function)
	return g.leave
}

func (g *Gate) leave(id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.entered--
	if id != "" {
		g.stored = append(g.stored, id)
	}
	g.callIn()
}

func (g *Gate) underWay() int { return g.counted + g.entered + len(g.stored) }

func (g *Gate) free() bool { return g.underWay() < g.pace.limit() }

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
			"under_way", g.underWay(), "limit", g.pace.limit(), "oldest", g.seen.oldest())
	}
	g.refusing.n++
	g.refusing.last = now
	g.o.Metrics.CountLimited(metrics.LimitedOverload)
	return ErrBusy
}
