package bench

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRequestsOfAnOpenLoopAreDueAtEqualDistances(t *testing.T) {
	t.Parallel()
	assert.Equal(t, time.Duration(0), due(0, 50))
	assert.Equal(t, 20*time.Millisecond, due(1, 50))
	assert.Equal(t, 2*time.Second, due(100, 50))
	assert.Equal(t, 4*time.Second, due(1, 0.25))
	assert.Equal(t, 1000*time.Second, due(1_000_000, 1000), "rounding does not add up")
}

func TestSKUsHaveTheirSharesOfTheLines(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		skus   int
		skew   float64
		shares []float64 // of the first SKUs
	}{
		"uniform":           {skus: 4, skew: 0, shares: []float64{.25, .25, .25, .25}},
		"zipf":              {skus: 3, skew: 1, shares: []float64{6. / 11, 3. / 11, 2. / 11}},
		"strong":            {skus: 100, skew: 2, shares: []float64{.6116, .1529, .0680}},
		"below one is fine": {skus: 2, skew: .5, shares: []float64{.5858, .4142}},
		"one hot SKU":       {skus: 1, skew: 0, shares: []float64{1}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, drawn := newShape(test.skus, test.skew, 1, 7), map[int]float64{}
			const orders = 40_000
			for n := range orders {
				drawn[s.order(n)[0]]++
			}
			for sku, share := range test.shares {
				assert.InDelta(t, share, drawn[sku]/orders, .01, sku)
			}
		})
	}
}

func TestLinesOfAnOrderHaveDifferentSKUsWhileThereAreEnough(t *testing.T) {
	t.Parallel()
	for n := range 200 {
		skus := newShape(5, 3, 5, 1).order(n)
		slices.Sort(skus)
		assert.Equal(t, []int{0, 1, 2, 3, 4}, skus)
	}
	assert.Equal(t, []int{0, 0}, newShape(1, 0, 2, 1).order(3))
	assert.Len(t, newShape(3, 1, 7, 1).order(3), 7)
}

func TestOrdersAreTheSameForTheSameSeed(t *testing.T) {
	t.Parallel()
	a, b, other := newShape(1000, .8, 3, 1), newShape(1000, .8, 3, 1), newShape(1000, .8, 3, 2)
	different := 0
	for n := range 20 {
		assert.Equal(t, a.body(n), b.body(n))
		if string(a.body(n)) != string(other.body(n)) {
			different++
		}
	}
	assert.Positive(t, different)
}

func TestBodyIsAnOrderOfOneUnitALine(t *testing.T) {
	t.Parallel()
	s := newShape(10, 0, 2, 1)
	var body struct {
		CustomerEmail string `json:"customerEmail"`
		Items         []struct {
			SKU       string `json:"sku"`
			Quantity  int    `json:"quantity"`
			UnitPrice int    `json:"unitPrice"`
		} `json:"items"`
	}
	require.NoError(t, json.Unmarshal(s.body(4), &body))
	assert.Equal(t, "bench@example.com", body.CustomerEmail)
	require.Len(t, body.Items, 2)
	for i, sku := range s.order(4) {
		assert.Equal(t, skuName(sku), body.Items[i].SKU)
		assert.Equal(t, 1, body.Items[i].Quantity)
		assert.Equal(t, 1299, body.Items[i].UnitPrice)
	}
}

func TestOptionsOutOfBoundsAreAllNamed(t *testing.T) {
	t.Parallel()
	good := Options{Orders: 1, Concurrency: 1, SKUs: 1, Lines: 1, Patience: time.Second}
	require.NoError(t, good.Validate())
	err := Options{Orders: 0, Concurrency: -1, SKUs: 0, Lines: 101, Warmup: -1, Rate: -1, Skew: 11}.Validate()
	for _, name := range []string{"--orders 0", "--concurrency -1", "--skus 0", "--lines 101", "--warmup -1", "--rate -1", "--skew 11", "--patience"} {
		assert.ErrorContains(t, err, name)
	}
}
