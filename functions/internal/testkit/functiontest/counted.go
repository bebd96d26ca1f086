package functiontest

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/observe/exposition"
)

// Counted returns the value of a counter with these values of its labels, in the order of their names; 0 without it.
func Counted(t testing.TB, r *exposition.Registry, name string, labels ...string) float64 {
	t.Helper()
	families, err := r.Gather()
	require.NoError(t, err)
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			var values []string
			for _, label := range metric.GetLabel() {
				values = append(values, label.GetValue())
			}
			if family.GetName() == name && slices.Equal(values, labels) {
				return metric.GetCounter().GetValue()
			}
		}
	}
	return 0
}
