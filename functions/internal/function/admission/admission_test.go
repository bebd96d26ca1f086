package admission

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// system ends orders first come first served, speed of them per second, and none before it has been under way for least.
type system struct {
	mu      sync.Mutex
	speed   float64
	least   time.Duration // that an order takes
	pending []order       // oldest first
	stuck   []order       // that never end
	number  int
	waits   []wait
	looks   int
	could   float64       // orders that it could have ended
	takes   time.Duration // that a look takes
	uneven  *rand.Rand    // makes the speed differ from one tenth of a second to the next, nil for an even one
	broken  error         // of a look
	log     buffer
}

// buffer is text that one goroutine reads while others write.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(text)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// change changes the system while it runs.
func (s *system) change(how func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	how()
}

// of returns a part of a gate that is in use.
func of[T any](g *Gate, part *T) T {
	g.mu.Lock()
	defer g.mu.Unlock()
	return *part
}

type order struct {
	id      string
	arrived time.Time
}

// wait is how long an order has taken that ended at a time.
type wait struct {
	ended time.Time
	took  time.Duration
}

const maxWait = time.Second

// run ends orders until ctx ends.
func (s *system) run(ctx context.Context) {
	const tick = 5 * time.Millisecond
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	changes, now := time.Now(), 1.0
	for credit := 0.0; ; {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		s.mu.Lock()
		if s.uneven != nil && time.Since(changes) >= 100*time.Millisecond {
			// Half of the time the speed is less than 0.9 of the mean, and one time in twenty next to nothing.
			changes, now = time.Now(), min(s.uneven.ExpFloat64(), 2.5)/0.92
		}
		s.could += now * s.speed * tick.Seconds()
		credit = min(credit+now*s.speed*tick.Seconds(), s.speed*0.05) // idle time is lost, but for a batch
		for len(s.pending) > 0 && credit >= 1 && time.Since(s.pending[0].arrived) >= s.least {
			s.waits = append(s.waits, wait{time.Now(), time.Since(s.pending[0].arrived)})
			s.pending, credit = s.pending[1:], credit-1
		}
		s.mu.Unlock()
	}
}

func at(t time.Time) string { return fmt.Sprintf("%020d", t.UnixNano()) }

func (s *system) accept(arrived time.Time) (id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.number++
	id = fmt.Sprintf("%s-%09d", at(time.Now()), s.number)
	s.pending = append(s.pending, order{id, arrived})
	return id
}

func (s *system) look(context.Context) (Sample, error) {
	s.mu.Lock()
	takes := s.takes
	s.mu.Unlock()
	time.Sleep(takes / 2)
	s.mu.Lock()
	s.looks++
	now := time.Now()
	sample := Sample{From: at(now.Add(-4 * maxWait))}
	all := slices.Concat(s.pending, s.stuck)
	broken := s.broken
	s.mu.Unlock()
	time.Sleep(takes / 2)
	slices.SortFunc(all, func(a, b order) int { return strings.Compare(b.id, a.id) })
	for _, o := range all {
		if o.id >= sample.From {
			sample.Orders = append(sample.Orders, Order{o.id, now.Sub(o.arrived)})
		}
	}
	return sample, broken
}

func (s *system) gate() *Gate {
	return New(Options{MaxWait: maxWait, Look: s.look, Function: "create-order", Log: slog.New(slog.NewTextHandler(&s.log, nil))})
}

// offered is what became of the orders of a flood.
type offered struct {
	mu                sync.Mutex
	accepted, refused int
	refusals          []time.Duration // how long each took
}

// offer sends rate orders per second to the gates in turn, and returns when all have an answer.
func (s *system) offer(ctx context.Context, gates []*Gate, rate float64, span time.Duration) *offered {
	var result offered
	var asking sync.WaitGroup
	for n := range int(rate * span.Seconds()) {
		begun := time.Now()
		asking.Go(func() {
			arrived := time.Now()
			leave, err := gates[n%len(gates)].Enter(ctx)
			result.mu.Lock()
			defer result.mu.Unlock()
			if err != nil {
				result.refused++
				result.refusals = append(result.refusals, time.Since(arrived))
				return
			}
			result.accepted++
			leave(s.accept(arrived))
		})
		time.Sleep(time.Duration(float64(time.Second)/rate) - time.Since(begun))
	}
	asking.Wait()
	return &result
}

// simulate runs a system and gates on it.
func simulate(t *testing.T, speed float64, gates int, check func(ctx context.Context, s *system, gates []*Gate)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &system{speed: speed, least: 20 * time.Millisecond}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go s.run(ctx)
		all := make([]*Gate, gates)
		for i := range all {
			all[i] = s.gate()
			defer all[i].Close()
		}
		check(ctx, s, all)
	})
}

// since returns the sorted waits of the orders that ended after a time.
func (s *system) since(from time.Time) (waits []time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.waits {
		if w.ended.After(from) {
			waits = append(waits, w.took)
		}
	}
	slices.Sort(waits)
	return waits
}

func p99(sorted []time.Duration) time.Duration { return sorted[len(sorted)*99/100] }

func TestAFloodIsServedAtFullSpeedAndInTime(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		speed  float64
		gates  int
		excess float64
	}{
		"slow, one process":         {100, 1, 3},
		"one process":               {1000, 1, 2},
		"one process, far too much": {1000, 1, 10},
		"fast, one process":         {4000, 1, 1.5},
		"many processes":            {1000, 10, 3},
		"slow, many processes":      {200, 10, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			simulate(t, test.speed, test.gates, func(ctx context.Context, s *system, gates []*Gate) {
				const settles, steady = 3 * time.Second, 5 * time.Second
				begun := time.Now()
				first := s.offer(ctx, gates, test.speed*test.excess, settles)
				from := time.Now()
				result := s.offer(ctx, gates, test.speed*test.excess, steady)
				waits := s.since(from)

				assert.GreaterOrEqual(t, float64(len(waits)), 0.95*test.speed*steady.Seconds(), "as many end as the system can do")
				assert.LessOrEqual(t, p99(waits), maxWait)
				assert.LessOrEqual(t, p99(s.since(begun)), 3*maxWait/2, "from the first order on, before the speed is known")
				assert.Positive(t, first.refused)
				slices.Sort(result.refusals)
				require.NotEmpty(t, result.refusals)
				assert.LessOrEqual(t, result.refusals[len(result.refusals)-1], maxWait/5)
				s.mu.Lock()
				perSecond := map[int]int{}
				for _, w := range s.waits {
					if w.ended.After(from) {
						perSecond[int(w.ended.Sub(from)/time.Second)]++
					}
				}
				s.mu.Unlock()
				for second := range int(steady.Seconds()) - 1 {
					assert.InEpsilon(t, test.speed, perSecond[second], 0.15, "without swinging: second %d", second)
				}
			})
		})
	}
}

func TestASystemThatTakesItsTimeKeepsItsSpeed(t *testing.T) {
	t.Parallel()
	simulate(t, 1000, 1, func(ctx context.Context, s *system, gates []*Gate) {
		s.least = 350 * time.Millisecond
		s.offer(ctx, gates, 2000, 5*time.Second)
		from := time.Now()
		s.offer(ctx, gates, 2000, 5*time.Second)
		waits := s.since(from)
		assert.GreaterOrEqual(t, len(waits), 9*5*1000/10)
		assert.LessOrEqual(t, p99(waits), maxWait)
	})
}

func TestNothingIsRefusedThatTheSystemCanDo(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ speed, rate float64 }{
		"slow":         {50, 45},
		"fast":         {1000, 900},
		"far from it":  {5000, 500},
		"one a second": {1000, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			simulate(t, test.speed, 3, func(ctx context.Context, s *system, gates []*Gate) {
				result := s.offer(ctx, gates, test.rate, 10*time.Second)
				assert.Zero(t, result.refused)
				var looks int
				s.change(func() { looks = s.looks })
				assert.LessOrEqual(t, looks, 3*10*21, "samples are taken per time, not per order")
				if test.rate < 10 {
					assert.LessOrEqual(t, looks, 3*11, "and rarely without a queue")
				}
			})
		})
	}
}

func TestALineIsServedInOrderOfArrival(t *testing.T) {
	t.Parallel()
	simulate(t, 1000, 1, func(ctx context.Context, _ *system, gates []*Gate) {
		g := gates[0]
		for range first {
			_, err := g.Enter(ctx)
			require.NoError(t, err)
		}
		var order []int
		var waiting sync.WaitGroup
		for n := range 5 {
			waiting.Go(func() {
				leave, err := g.Enter(ctx)
				assert.NoError(t, err)
				order = append(order, n) // one at a time, since each is let in by the one before
				leave("")
			})
			synctest.Wait()
		}
		g.leave("")
		waiting.Wait()
		assert.Equal(t, []int{0, 1, 2, 3, 4}, order)
	})
}

func TestAWaitInLineIsShort(t *testing.T) {
	t.Parallel()
	simulate(t, 0, 1, func(ctx context.Context, _ *system, gates []*Gate) {
		g := gates[0]
		for range first {
			_, err := g.Enter(ctx)
			require.NoError(t, err)
		}
		begun := time.Now()
		ended, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		_, err := g.Enter(ended)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 50*time.Millisecond, time.Since(begun))
		_, err = g.Enter(ctx)
		require.ErrorIs(t, err, ErrBusy)
		assert.Equal(t, 50*time.Millisecond+maxWait/5, time.Since(begun))
		assert.Empty(t, of(g, &g.line))

		for range unknownLine {
			go func() { _, _ = g.Enter(ctx) }() // refused as well, later
		}
		synctest.Wait()
		begun = time.Now()
		assert.True(t, g.Full())
		_, err = g.Enter(ctx)
		require.ErrorIs(t, err, ErrBusy)
		assert.Zero(t, time.Since(begun), "a full line refuses at once")
		time.Sleep(maxWait)
	})
}

func TestAnOutageStoresOrdersAndChangesNoLimit(t *testing.T) {
	t.Parallel()
	simulate(t, 1000, 1, func(ctx context.Context, s *system, gates []*Gate) {
		s.offer(ctx, gates, 2000, 5*time.Second)
		s.change(func() { s.speed = 0 })
		time.Sleep(3 * maxWait) // the queue of the flood is older than what counts
		known := of(gates[0], &gates[0].pace.speed)
		result := s.offer(ctx, gates, 250, 10*time.Second)
		assert.Zero(t, result.refused, "nothing ends, but fewer come than half of what could")
		assert.InDelta(t, known, of(gates[0], &gates[0].pace.speed), 0.001)
		s.change(func() { s.speed = 1000 })
		from := time.Now()
		s.offer(ctx, gates, 250, 5*time.Second)
		later := time.Now()
		result = s.offer(ctx, gates, 250, 5*time.Second)
		assert.Zero(t, result.refused, "only those that would wait behind what was stored")
		assert.LessOrEqual(t, p99(s.since(later)), maxWait)
		assert.InDelta(t, 20*250, len(s.since(from)), 800, "what was stored ends, and what comes meanwhile")
	})
}

func TestNoOrderCountsTwice(t *testing.T) {
	t.Parallel()
	simulate(t, 0, 1, func(ctx context.Context, s *system, gates []*Gate) {
		s.takes = 40 * time.Millisecond // in which orders are stored that the sample sees, and others that it does not
		var offering sync.WaitGroup
		offering.Go(func() { s.offer(ctx, gates, 300, maxWait/4) })
		for range 50 {
			time.Sleep(7 * time.Millisecond)
			synctest.Wait()
			var stored, underWay int
			s.change(func() { stored = s.number })
			gates[0].mu.Lock()
			underWay = gates[0].underWay()
			gates[0].mu.Unlock()
			assert.Equal(t, stored, underWay)
		}
		offering.Wait()
	})
}

func TestOrdersThatAreStuckDoNotCloseTheGate(t *testing.T) {
	t.Parallel()
	simulate(t, 1000, 1, func(ctx context.Context, s *system, gates []*Gate) {
		for n := range 1000 {
			s.change(func() {
				s.stuck = append(s.stuck, order{fmt.Sprintf("%s-s%09d", at(time.Now().Add(-time.Hour)), n), time.Now()})
			})
		}
		result := s.offer(ctx, gates, 800, 5*time.Second)
		assert.Zero(t, result.refused)
	})
}

func TestTheGateOpensWhenNothingCanBeSeen(t *testing.T) {
	t.Parallel()
	simulate(t, 0, 1, func(ctx context.Context, s *system, gates []*Gate) {
		s.offer(ctx, gates, 1000, maxWait)
		s.change(func() { s.broken = errors.New("access denied") })
		time.Sleep(maxWait / 10)
		result := s.offer(ctx, gates, 50, 5*time.Second)
		assert.Zero(t, result.refused)
		gates[0].Close()
		assert.Equal(t, 1, strings.Count(s.log.String(), "cannot count the orders that are under way"), s.log.String())
	})
}

func TestTheLogSaysWhenOrdersAreRefused(t *testing.T) {
	t.Parallel()
	simulate(t, 1000, 1, func(ctx context.Context, s *system, gates []*Gate) {
		for range 2 {
			result := s.offer(ctx, gates, 3000, 3*time.Second)
			require.Positive(t, result.refused)
			time.Sleep(2 * calm * maxWait)
			assert.Contains(t, s.log.String(), fmt.Sprintf("refused=%d", result.refused))
		}
		assert.False(t, of(gates[0], &gates[0].watching), "nothing is sampled when no order comes")
		gates[0].Close()
		text := s.log.String()
		assert.Equal(t, []int{2, 2}, []int{strings.Count(text, "orders are refused"), strings.Count(text, "orders are no longer refused")}, text)
	})
}

func TestNoGateAdmitsEverything(t *testing.T) {
	t.Parallel()
	var g *Gate
	leave, err := g.Enter(t.Context())
	require.NoError(t, err)
	leave("1")
	g.Close()
}
