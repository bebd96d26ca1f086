package audit

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestTheTableHasWhatAMapHas uses hashes of which many share their last bits, and so their place.
func TestTheTableHasWhatAMapHas(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	table, want := &factTable{}, map[uint64]emittedFacts{}
	for row := range int64(20_000) {
		order := random.Uint64N(100)<<32 + random.Uint64N(100) + 1
		bit := uint32(1) << (1 + random.IntN(20))
		facts := table.of(order)
		require.Equal(t, want[order].mask, facts.mask, "of order %x", order)
		facts.mask |= bit
		facts.row = row
		want[order] = emittedFacts{row: row, mask: facts.mask}
	}
	require.Greater(t, len(want), 5000, "the table has grown several times")

	for order := range want {
		if order%2 == 0 {
			assert.Equal(t, want[order].mask, table.take(order))
			assert.Zero(t, table.take(order), "they were taken")
			delete(want, order)
		}
	}
	assert.Zero(t, table.take(1<<60), "of an order that has none")
	left := map[uint64]emittedFacts{}
	for order, facts := range table.left() {
		left[order] = facts
	}
	assert.Equal(t, want, left)
}

func TestNoTableHasNoFacts(t *testing.T) {
	var none *factTable
	assert.Zero(t, none.take(1))
}
