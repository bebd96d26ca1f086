package identity

import (
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/identitytest"
)

// BenchmarkCheck checks the sender of one event after another, which all have the same token.
func BenchmarkCheck(b *testing.B) {
	p := identitytest.Start(b)
	s := newSources(b, sinkConfig(p))
	r := sent(b, "Bearer "+account(p, mine, nil))
	b.ReportAllocs()
	for b.Loop() {
		require.NoError(b, s.Check(r))
	}
}
