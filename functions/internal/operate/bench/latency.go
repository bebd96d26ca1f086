package bench

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latency is a distribution of times, in milliseconds.
type Latency struct {
	Count int64   `json:"count"`
	Mean  float64 `json:"mean"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p99_9"`
	Max   float64 `json:"max"`
}

// histogram counts times from a microsecond to an hour with three significant digits.
type histogram struct{ h *hdrhistogram.Histogram }

const longest = time.Hour

func newHistogram() histogram {
	return histogram{hdrhistogram.New(1, longest.Microseconds(), 3)}
}

// add counts a time; times out of bounds count as the bound.
func (h histogram) add(d time.Duration) {
	_ = h.h.RecordValue(min(max(d, time.Microsecond), longest).Microseconds()) // it is within the bounds
}

// merge adds the counts of another histogram.
func (h histogram) merge(other histogram) { h.h.Merge(other.h) }

func (h histogram) latency() Latency {
	at := func(quantile float64) float64 { return float64(h.h.ValueAtQuantile(quantile)) / 1000 }
	return Latency{
		Count: h.h.TotalCount(), Mean: h.h.Mean() / 1000,
		P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), Max: float64(h.h.Max()) / 1000,
	}
}

// middle returns the distribution with the mean of each number, and the sum of the counts.
func middle(a, b Latency) Latency {
	mean := func(x, y float64) float64 { return (x + y) / 2 }
	return Latency{
		Count: a.Count + b.Count, Mean: mean(a.Mean, b.Mean), P50: mean(a.P50, b.P50), P90: mean(a.P90, b.P90),
		P99: mean(a.P99, b.P99), P999: mean(a.P999, b.P999), Max: max(a.Max, b.Max),
	}
}
