package main

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkPostToConfirmed places one order at a time and waits until a GET answers CONFIRMED, in milliseconds.
func BenchmarkPostToConfirmed(b *testing.B) {
	p := newStack(b).up(b)
	require.Equal(b, http.StatusCreated, p.do(b, http.MethodPut, "/api/inventory/BENCH", nil, `{"availableQty":1000000000}`, nil))
	var took []time.Duration
	for b.Loop() {
		begin := time.Now()
		o := p.place(b, "BENCH", 1)
		p.awaitStatus(b, o.OrderID, "CONFIRMED")
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}
