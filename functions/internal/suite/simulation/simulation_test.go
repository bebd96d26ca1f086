package simulation

import (
	"flag"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/knative"
)

var (
	oneSeed  = flag.Uint64("seed", 0, "the only seed to run, with all its steps in the output")
	fromSeed = flag.Uint64("from", 1, "the first of many seeds")
)

// seeds is the number of seeds to run: SIMULATION_SEEDS sets it.
func seeds(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("SIMULATION_SEEDS")
	if text == "" {
		return 100
	}
	n, err := strconv.ParseUint(text, 10, 32)
	require.NoError(t, err, "SIMULATION_SEEDS")
	return n
}

// overlayOf returns the overlay of a seed: orders are paid in two of three.
func overlayOf(seed uint64) string {
	if seed%3 == 0 {
		return knative.BaseName
	}
	return overlayPayment
}

// workers is the number of concurrent seeds, each on its own schemas. The functions and the server share the cores.
const workers = 3

// TestSimulation runs many seeds, or with -seed one.
func TestSimulation(t *testing.T) {
	if *oneSeed != 0 {
		b := newBed(t, overlayOf(*oneSeed))
		r := simulate(t.Context(), b, *oneSeed, mutation{})
		t.Log(strings.Join(r.trace, "\n"))
		assert.Empty(t, r.violations)
		assert.Empty(t, b.audit(t.Context()))
		return
	}
	last := *fromSeed + seeds(t) - 1
	todo := make(chan uint64)
	go func() {
		defer close(todo)
		for seed := *fromSeed; seed <= last; seed++ {
			select {
			case todo <- seed:
			case <-t.Context().Done():
				return
			}
		}
	}()
	beds := make([]map[string]*bed, workers)
	for w := range beds {
		beds[w] = map[string]*bed{}
		for _, overlay := range []string{knative.BaseName, overlayPayment} {
			beds[w][overlay] = newBed(t, overlay)
		}
	}
	begun := time.Now()
	functiontest.Concurrently(workers, func(w int) {
		for seed := range todo {
			r := simulate(t.Context(), beds[w][overlayOf(seed)], seed, mutation{})
			if !assert.Empty(t, r.violations, "seed %d; to see its steps: go test ./functions/internal/suite/simulation -run 'TestSimulation$' -v -seed %d", seed, seed) {
				return // what it left in flight would disturb the next one
			}
		}
		for _, b := range beds[w] {
			assert.Empty(t, b.audit(t.Context()))
		}
	})
	t.Logf("seeds %d to %d, %.1f a second", *fromSeed, last, float64(last-*fromSeed+1)/time.Since(begun).Seconds())
}

func TestASeedReplaysExactly(t *testing.T) {
	for _, overlay := range []string{knative.BaseName, overlayPayment} {
		first, second := newBed(t, overlay), newBed(t, overlay)
		for seed := uint64(1); seed <= 15; seed++ {
			assert.Equal(t, simulate(t.Context(), first, seed, mutation{}).trace, simulate(t.Context(), second, seed, mutation{}).trace, "seed %d", seed)
		}
	}
}
