package bench

import (
	"math"
	"math/rand/v2"
	"sort"
	"strconv"
	"time"
)

// shape defines the generated orders.
type shape struct {
	cumulative []float64 // the cumulative share of each SKU; empty if they are uniform
	skus       int
	lines      int
	seed       uint64
}

// newShape distributes lines over SKUs: the k-th of them, from 1, has a share proportional to 1/k^skew.
func newShape(skus int, skew float64, lines int, seed uint64) *shape {
	s := &shape{skus: skus, lines: lines, seed: seed}
	if skew == 0 {
		return s
	}
	s.cumulative = make([]float64, skus)
	sum := 0.0
	for k := range s.cumulative {
		sum += math.Pow(float64(k+1), -skew)
		s.cumulative[k] = sum
	}
	for k := range s.cumulative {
		s.cumulative[k] /= sum
	}
	return s
}

// draw picks a SKU, from 0.
func (s *shape) draw(random *rand.Rand) int {
	if s.cumulative == nil {
		return random.IntN(s.skus)
	}
	return min(sort.SearchFloat64s(s.cumulative, random.Float64()), s.skus-1)
}

// order picks the SKUs of the n-th order: different ones as long as there are enough, and always the same for the same n.
func (s *shape) order(n int) []int {
	random := rand.New(rand.NewPCG(s.seed, uint64(n)))
	chosen := make([]int, 0, s.lines)
	for len(chosen) < s.lines {
		sku := s.draw(random)
		if len(chosen) < s.skus {
			// Take the next SKU, so that a strong skew does not draw the same few again and again.
			for contains(chosen, sku) {
				sku = (sku + 1) % s.skus
			}
		}
		chosen = append(chosen, sku)
	}
	return chosen
}

func contains(chosen []int, sku int) bool {
	for _, c := range chosen {
		if c == sku {
			return true
		}
	}
	return false
}

// customer places all orders.
const customer = "bench@example.com"

// unitPrice is the price of every SKU, in minor units.
const unitPrice = 1299

func skuName(sku int) string { return "BENCH-" + strconv.Itoa(sku) }

// body returns the n-th order as JSON: one unit per line.
func (s *shape) body(n int) []byte {
	text := make([]byte, 0, 64+64*s.lines)
	text = append(text, `{"customerEmail":"`+customer+`","items":[`...)
	for i, sku := range s.order(n) {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(text, `{"sku":"BENCH-`...)
		text = strconv.AppendInt(text, int64(sku), 10)
		text = append(text, `","quantity":1,"unitPrice":`...)
		text = append(strconv.AppendInt(text, unitPrice, 10), '}')
	}
	return append(text, `]}`...)
}

// due returns when the n-th request, from 0, is due after the start of an open loop with a rate.
func due(n int, rate float64) time.Duration {
	return time.Duration(float64(n) / rate * float64(time.Second))
}
