package bench

import (
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAPointTellsWhatBecameOfEachOrder(t *testing.T) {
	t.Parallel()
	second := time.Second
	all := samples{
		{due: 0, answered: second / 10, status: http.StatusCreated, end: confirmed, ended: second / 2},
		{due: second, answered: second + second/5, status: http.StatusCreated, end: confirmed, ended: 4 * second},
		{due: second, answered: second + second/1000, status: http.StatusServiceUnavailable},
		{due: 2 * second, answered: 2*second + second/1000, status: http.StatusTooManyRequests},
		{due: 2 * second, answered: 2 * second},
	}
	p := point(2, 100, all, Usage{HarnessSeconds: 6, GeneratorSeconds: 1, WallSeconds: 4})
	assert.Equal(t, []float64{2, 100}, []float64{p.Share, p.Offered})
	assert.InDelta(t, 2/2.001, p.Accepted, 1e-9, "until the last answer")
	assert.InDelta(t, 2/2.001, p.Refused, 1e-9)
	assert.InDelta(t, 0.5, p.Confirmed, 1e-9, "until the last end")
	assert.Equal(t, 1, p.Unanswered)
	assert.InEpsilon(t, 3000, p.PostToConfirmed.Max, 0.001)
	assert.InEpsilon(t, 200, p.Post.Max, 0.001)
	assert.Equal(t, int64(2), p.Refusal.Count)
	assert.InDelta(t, 1, p.Refusal.Max, 0.001)
	assert.Equal(t, []float64{1.5, 0.25}, []float64{p.Harness, p.Generator})
}

func TestACurveIsATableAndAPicture(t *testing.T) {
	t.Parallel()
	c := Curve{Capacity: 1000, Seconds: 10, Points: []Point{
		{Share: 0.5, Offered: 500, Accepted: 500, Confirmed: 499, PostToConfirmed: Latency{P50: 11, P99: 22}},
		{Share: 3, Offered: 3000, Accepted: 1001, Refused: 1999, Confirmed: 1002, PostToConfirmed: Latency{P50: 510, P99: 870}, Refusal: Latency{P50: 1.5, P99: 3}, Harness: 0.9, Generator: 0.35},
	}}
	var table, picture strings.Builder
	require.NoError(t, c.Write(&table))
	assert.Regexp(t, `(?m)^ +0\.5 +500 +500 +0 +499 +11 +22 +0 +0\.0 +0 +0 +0\.00 +0\.00$`, table.String())
	assert.Regexp(t, `(?m)^ +3 +3000 +1001 +1999 +1002 +510 +870 +0 +1\.5 +3 +0 +0\.90 +0\.35$`, table.String())
	require.NoError(t, c.Plot(&picture))
	lines := 0
	for d := xml.NewDecoder(strings.NewReader(picture.String())); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == "polyline" {
			lines++
		}
	}
	assert.Equal(t, 4, lines)
	assert.Contains(t, picture.String(), ">3000/s</text>")
}
