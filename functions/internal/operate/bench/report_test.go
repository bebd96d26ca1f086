package bench

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/operate/audit"
)

func TestPercentilesAreThoseOfTheTimes(t *testing.T) {
	t.Parallel()
	a, b := newHistogram(), newHistogram()
	for i := 1; i <= 1000; i++ {
		h := a
		if i%2 == 0 {
			h = b
		}
		h.add(time.Duration(i) * time.Millisecond)
	}
	a.merge(b)
	l := a.latency()
	assert.Equal(t, int64(1000), l.Count)
	for want, got := range map[float64]float64{500: l.P50, 900: l.P90, 990: l.P99, 999: l.P999, 1000: l.Max, 500.5: l.Mean} {
		assert.InEpsilon(t, want, got, .001)
	}
}

func TestTimesOutOfTheHistogramCountAsItsBounds(t *testing.T) {
	t.Parallel()
	h := newHistogram()
	h.add(-time.Second)
	h.add(48 * time.Hour)
	l := h.latency()
	assert.Equal(t, int64(2), l.Count)
	assert.InEpsilon(t, .001, l.P50, .001)
	assert.InEpsilon(t, longest.Seconds()*1000, l.Max, .001)
}

// loaded returns four orders in a second (two confirmed, one failed, one lost) and a refused one.
func loaded() samples {
	ms := time.Millisecond
	return samples{
		{due: 0, answered: 10 * ms, status: 201, ended: 100 * ms, end: confirmed, relayed: 2 * ms, stored: 60 * ms},
		{due: 100 * ms, answered: 120 * ms, status: 201, ended: 500 * ms, end: confirmed, relayed: 4 * ms, stored: 200 * ms},
		{due: 200 * ms, answered: 230 * ms, status: 201, ended: 1000 * ms, end: failed},
		{due: 300 * ms, answered: 340 * ms, status: 201},
		{due: 400 * ms, answered: 800 * ms, status: 503},
	}
}

func TestReportReckonsUpTheOrders(t *testing.T) {
	t.Parallel()
	var r Report
	r.fill(loaded())

	assert.Equal(t, []int{4, 2, 1, 1}, []int{r.Accepted, r.Confirmed, r.Failed, r.Lost})
	assert.Equal(t, map[string]int{"503": 1}, r.Refused)
	assert.InEpsilon(t, 4/.8, r.AcceptedPerSecond, 1e-9)
	assert.InEpsilon(t, 2/.5, r.ConfirmedPerSecond, 1e-9, "to the last CONFIRMED, not to the last end")
	assert.Equal(t, int64(4), r.Post.Count)
	assert.InEpsilon(t, 40, r.Post.Max, .001)
	assert.Equal(t, int64(2), r.PostToConfirmed.Count)
	assert.InEpsilon(t, 400, r.PostToConfirmed.Max, .001)
	assert.Equal(t, int64(2), r.PostToStored.Count)
	assert.InEpsilon(t, 100, r.PostToStored.Max, .001)
	assert.InEpsilon(t, 4, r.Relayed.Max, .001)
}

func TestReportIsComparedWithTheMeanOfTheFloor(t *testing.T) {
	t.Parallel()
	at := func(perSecond, p50 float64) Speed { return Speed{PerSecond: perSecond, Latency: Latency{P50: p50}} }
	mean := Bare{Orders: meanSpeed(at(2000, 4), at(3000, 6)), One: at(500, 2)}
	assert.Equal(t, at(2500, 5), mean.Orders)
	tests := map[string]struct {
		rate                   float64
		ratio, post, confirmed float64
	}{
		"a closed loop with the floor at the same concurrency": {rate: 0, ratio: .4, post: 2, confirmed: 10},
		"an open loop with the floor of one at a time":         {rate: 20, ratio: .4, post: 5, confirmed: 25},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := Report{
				Load: Load{Rate: test.rate}, Floor: &Floor{Mean: mean}, ConfirmedPerSecond: 1000,
				Post: Latency{P50: 10}, PostToConfirmed: Latency{P50: 50},
			}
			r.compare()
			assert.InEpsilon(t, test.ratio, r.Ratio, 1e-9)
			assert.InEpsilon(t, test.post, r.PostRatio, 1e-9)
			assert.InEpsilon(t, test.confirmed, r.ConfirmedRatio, 1e-9)
		})
	}
	var without Report
	without.compare()
	assert.Zero(t, without.Ratio)
}

func TestRatioToNothingIsZeroAndNotInfinite(t *testing.T) {
	t.Parallel()
	assert.Zero(t, ratio(5, 0))
	assert.InEpsilon(t, 2.5, ratio(5, 2), 1e-9)
}

func TestReportAsJSONHasTheNamesThatProgramsRelyOn(t *testing.T) {
	t.Parallel()
	r := Report{Floor: &Floor{}, Audit: &audit.Report{}}
	r.fill(loaded())
	text, err := json.Marshal(r)
	require.NoError(t, err)
	var fields map[string]any
	require.NoError(t, json.Unmarshal(text, &fields))
	for _, name := range []string{
		"at", "machine", "stack", "load", "accepted", "refused", "confirmed", "failed", "lost", "acceptedPerSecond",
		"confirmedPerSecond", "post", "postToConfirmed", "postToStored", "outbox", "relayed", "usage", "perOrder", "floor", "ratio",
		"postRatio", "confirmedRatio", "timeline", "audit",
	} {
		assert.Contains(t, fields, name)
	}
	for _, name := range []string{"count", "mean", "p50", "p90", "p99", "p99_9", "max"} {
		assert.Contains(t, fields["post"], name)
	}
}

func TestReportForPeopleNamesWhatWasMeasured(t *testing.T) {
	t.Parallel()
	r := Report{Floor: &Floor{Concurrency: 8}, Audit: &audit.Report{Invariants: []*audit.Invariant{{Name: "stock", Says: "all is well"}}}, Usage: Usage{HarnessSeconds: 1, PerThousand: .42}}
	r.PerOrder = PerOrder{Status: map[string]float64{"Questions": 41.7}, Statements: []Statement{{Schema: "orders", Text: "SELECT ?", Count: 2, Millis: .3}}}
	r.fill(loaded())
	var out bytes.Buffer
	require.NoError(t, r.Write(&out))
	for _, words := range []string{
		"4 accepted, 2 confirmed, 1 failed, 1 lost, 1 × HTTP 503", "5 accepted/s, 4 confirmed/s", "POST to CONFIRMED", "POST to CONFIRMED in MySQL", "p99.9",
		"floor: order, 8 at once", "of the floor", "0.42 CPU seconds per 1,000", "Questions 41.7", "2.00 times, 0.300 ms: orders: SELECT ?", "all is well",
	} {
		assert.Contains(t, out.String(), words)
	}
}

func TestTimelineHasEveryOrderOnce(t *testing.T) {
	t.Parallel()
	line := timeline(loaded())
	accepted, ended := 0., 0.
	for _, m := range line {
		accepted += m.Accepted * shortest.Seconds()
		ended += m.Confirmed * shortest.Seconds()
	}
	assert.InEpsilon(t, 4, accepted, 1e-9)
	assert.InEpsilon(t, 2, ended, 1e-9)
	assert.InEpsilon(t, 400, line[5].P99, .001)
	assert.LessOrEqual(t, len(timeline(samples{{answered: time.Hour, status: 201}})), moments+1)
}

func TestPlotIsAnImageWhateverTheLoadWas(t *testing.T) {
	t.Parallel()
	for name, all := range map[string]samples{"nothing": {}, "one order": loaded()[:1], "some": loaded()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var r Report
			r.fill(all)
			var out bytes.Buffer
			require.NoError(t, r.Plot(&out))
			assert.NotContains(t, out.String(), "NaN")
			assert.NotContains(t, out.String(), "Inf")
			assert.Contains(t, out.String(), "prefers-color-scheme: dark")
			decoder := xml.NewDecoder(&out)
			for {
				_, err := decoder.Token()
				if errors.Is(err, io.EOF) {
					break
				}
				require.NoError(t, err)
			}
		})
	}
}

func TestGridOfThePlotHasFewAndRoundLines(t *testing.T) {
	t.Parallel()
	for _, highest := range []float64{.07, 1, 1.9, 2, 4.9, 5, 9.99, 137, 480, 2600, 99_999} {
		lines := math.Ceil(highest / gridStep(highest))
		assert.GreaterOrEqual(t, lines, 2., highest)
		assert.LessOrEqual(t, lines, 8., highest)
	}
	assert.InEpsilon(t, 1, gridStep(0), 1e-9)
}

func TestCountersAreDividedByTheOrdersThatEnded(t *testing.T) {
	t.Parallel()
	before := counters{status: map[string]float64{"Com_commit": 100}, statements: map[string]Statement{"a": {Text: "A", Count: 5, Millis: 1}, "idle": {Count: 3}}}
	after := counters{status: map[string]float64{"Com_commit": 350}, statements: map[string]Statement{
		"a": {Text: "A", Count: 105, Millis: 6}, "new": {Text: "N", Count: 50, Millis: 50}, "idle": {Count: 3},
	}}
	assert.Equal(t, PerOrder{Status: map[string]float64{"Com_commit": 5}, Statements: []Statement{
		{Text: "N", Count: 1, Millis: 1}, {Text: "A", Count: 2, Millis: .1}, // the slowest is first
	}}, perOrder(before, after, 50))
	assert.Empty(t, perOrder(before, after, 0).Status)
}

func TestCPUTimeIsParsedFromProc(t *testing.T) {
	t.Parallel()
	assert.InEpsilon(t, 3.5, parseStat("42 (a (strange) name) S 1 42 42 0 -1 4194560 1 2 3 4 250 100 9 9 20 0 7 0 1 1 1"), 1e-9)
	assert.Zero(t, parseStat("42 (short) S 1"))
	assert.Equal(t, machineTime{busy: 6.5, stolen: .8}, parseMachine("cpu  100 200 300 4000 500 20 30 80 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n"))
	assert.Zero(t, parseMachine("intr 1 2 3"))
}

func TestUsageOfSeveralProcessesIsTheirSum(t *testing.T) {
	t.Parallel()
	self := os.Getpid()
	one, two := startUsage([]Process{{PID: self}}), startUsage([]Process{{PID: self}, {Function: "notify", PID: self}})
	assert.InDelta(t, 2*one.rss.Load(), two.rss.Load(), float64(one.rss.Load())/2)
	one.before, two.before = []float64{-10}, []float64{-10, -10} // they have used ten seconds more
	alone, both := one.stop(5), two.stop(5)
	assert.InDelta(t, 2*alone.HarnessSeconds, both.HarnessSeconds, 1)
	assert.InDelta(t, alone.HarnessSeconds, both.FunctionSeconds["notify"], 1)
	assert.Nil(t, alone.FunctionSeconds)
	none := startUsage(nil).stop(5)
	assert.Zero(t, none.HarnessSeconds)
	assert.Zero(t, none.HarnessMiB)
}

func TestReportsNameMembersAndPartitions(t *testing.T) {
	t.Parallel()
	one, three := Stack{Members: 1, Partitions: 6, MaxConns: 8}, Stack{Members: 3, Partitions: 6, MaxConns: 8}
	deployed := Stack{Members: 1, Functions: 11, Partitions: 6, MaxConns: 8}
	for name, write := range map[string]func(Stack, io.Writer) error{
		"of a load": func(s Stack, out io.Writer) error {
			return (&Report{Stack: s, Usage: Usage{HarnessSeconds: 1}}).Write(out)
		},
		"of a backlog": func(s Stack, out io.Writer) error { return (&Backlog{Stack: s}).Write(out) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var alone, shared, apart bytes.Buffer
			require.NoError(t, write(one, &alone))
			require.NoError(t, write(three, &shared))
			require.NoError(t, write(deployed, &apart))
			assert.Contains(t, alone.String(), "8 connections per schema, 6 partitions per topic, members: 1")
			assert.NotContains(t, alone.String(), "the sums")
			assert.Contains(t, shared.String(), "members: 3")
			assert.Contains(t, shared.String(), "MiB (the sums of 3 harnesses)")
			assert.Contains(t, apart.String(), "11 functions in their own processes, 8 connections each")
			assert.Contains(t, apart.String(), "MiB (the sums of 12 processes)")
		})
	}
	text, err := json.Marshal(three)
	require.NoError(t, err)
	assert.Contains(t, string(text), `"members":3`)
	assert.Contains(t, string(text), `"partitions":6`)
}
