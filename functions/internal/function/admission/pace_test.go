package admission

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// settle offers twice what the system does until the gate knows it, and then for a while, of which it returns the sorted waits.
func settle(ctx context.Context, s *system, gates []*Gate, speed float64, settles, steady time.Duration) (waits []time.Duration) {
	s.offer(ctx, gates, 2*speed, settles)
	from := time.Now()
	s.offer(ctx, gates, 2*speed, steady)
	return s.since(from)
}

func TestAnUnevenSystemKeepsItsSpeedAndItsTime(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		simulate(t, 1000, 1, func(ctx context.Context, s *system, gates []*Gate) {
			s.uneven, s.takes, s.least = rand.New(rand.NewPCG(seed, 0)), 30*time.Millisecond, 100*time.Millisecond
			settle(ctx, s, gates, 1000, 3*time.Second, 0)
			s.change(func() { s.could = 0 })
			waits := settle(ctx, s, gates, 1000, 0, 10*time.Second)
			var could float64
			s.change(func() { could = s.could })
			assert.GreaterOrEqual(t, float64(len(waits)), 0.95*could, "seed %d", seed)
			assert.LessOrEqual(t, p99(waits), 3*maxWait/2, "seed %d", seed)
			assert.Less(t, of(gates[0], &gates[0].pace.share), mostShare, "seed %d", seed)
		})
	}
}

func TestTheGateFollowsTheSpeed(t *testing.T) {
	t.Parallel()
	simulate(t, 1000, 1, func(ctx context.Context, s *system, gates []*Gate) {
		for _, speed := range []float64{1000, 600, 1000, 700, 2000} {
			s.change(func() { s.speed = speed })
			waits := settle(ctx, s, gates, speed, 4*time.Second, 5*time.Second)
			assert.GreaterOrEqual(t, float64(len(waits)), 0.95*5*speed)
			assert.LessOrEqual(t, p99(waits), maxWait)
			assert.InEpsilon(t, speed, of(gates[0], &gates[0].pace.speed), 0.1)
		}
	})
}

func TestWhatAPauseLeavesIsMadeUpForSoon(t *testing.T) {
	t.Parallel()
	for _, pause := range []time.Duration{300 * time.Millisecond, 800 * time.Millisecond, 2 * time.Second} {
		simulate(t, 1000, 1, func(ctx context.Context, s *system, gates []*Gate) {
			settle(ctx, s, gates, 1000, 3*time.Second, 0)
			s.change(func() { s.speed = 0 })
			s.offer(ctx, gates, 2000, pause)
			s.change(func() { s.speed = 1000 })
			assert.GreaterOrEqual(t, len(settle(ctx, s, gates, 1000, 0, time.Second)), 950)
			waits := settle(ctx, s, gates, 1000, pause/2, 2*time.Second)
			assert.GreaterOrEqual(t, len(waits), 1900)
			assert.LessOrEqual(t, p99(waits), maxWait, "a second and a half of the pause after it")
		})
	}
}

// clients place one order after the other, each as soon as the one before is answered.
func (s *system) clients(ctx context.Context, g *Gate, n int, span time.Duration) (refused int) {
	var mu sync.Mutex
	var all sync.WaitGroup
	end := time.Now().Add(span)
	for range n {
		all.Go(func() {
			for time.Now().Before(end) {
				arrived := time.Now()
				leave, err := g.Enter(ctx)
				if err != nil {
					mu.Lock()
					refused++
					mu.Unlock()
					time.Sleep(g.Again())
					continue
				}
				time.Sleep(5 * time.Millisecond)
				leave(s.accept(arrived))
			}
		})
	}
	all.Wait()
	return refused
}

func TestClientsThatWaitForTheirAnswersAreNotRefused(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]int{1: 5 * 180, 32: 5 * 950, 128: 5 * 950} {
		simulate(t, 1000, 1, func(ctx context.Context, s *system, gates []*Gate) {
			s.least = 100 * time.Millisecond
			s.clients(ctx, gates[0], n, 3*time.Second)
			from := time.Now()
			refused := s.clients(ctx, gates[0], n, 5*time.Second)
			waits := s.since(from)
			assert.Zero(t, refused, "%d clients", n)
			assert.GreaterOrEqual(t, len(waits), want, "%d clients", n)
			assert.LessOrEqual(t, p99(waits), maxWait, "%d clients", n)
		})
	}
}
