package audit

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
)

// TestATableIsReadAtOnce guards against reading entries, which are written in the order of their slots, into a table that grows
// meanwhile: for a million orders that took 16 s instead of 0.07.
func TestATableIsReadAtOnce(t *testing.T) {
	written := &knownTable{}
	ids := make([]string, 20_000)
	for i := range ids {
		ids[i] = uuid.Must(uuid.NewV7()).String()
		written.add(events.OrdersSource, ids[i], 1+i%3)
	}
	text, err := written.MarshalBinary()
	require.NoError(t, err)

	read := &knownTable{}
	allocated := testing.AllocsPerRun(1, func() {
		read = &knownTable{}
		require.NoError(t, read.UnmarshalBinary(text))
	})

	assert.LessOrEqual(t, allocated, 2.0, "the table and its slots")
	assert.Equal(t, written.used, read.used)
	for i, id := range ids {
		require.Equal(t, uint32(1)<<(1+i%3), read.factsOf(events.OrdersSource, id), id)
	}
}
