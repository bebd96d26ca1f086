package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// answering is a stack whose n-th answer, from 0, takes a set time and has a set status; each order is confirmed a
// millisecond after its answer.
type answering struct {
	watch  *watcher
	take   func(n int) time.Duration
	status func(n int) int
	again  string // the Retry-After of what is refused
	n      atomic.Int64
	hosts  sync.Map // the number of requests of each host, as *atomic.Int64
}

func (a *answering) RoundTrip(r *http.Request) (*http.Response, error) {
	n := int(a.n.Add(1)) - 1
	had, _ := a.hosts.LoadOrStore(r.URL.Host, new(atomic.Int64))
	had.(*atomic.Int64).Add(1)
	sleep(r.Context(), a.take(n))
	id := fmt.Sprint("order-", n)
	status := http.StatusCreated
	if a.status != nil {
		status = a.status(n)
	}
	if status == http.StatusCreated {
		time.AfterFunc(time.Millisecond, func() {
			a.watch.record(id, end{outcome: confirmed, at: time.Now(), emitted: time.Now().Add(-time.Microsecond)})
		})
	}
	header := http.Header{}
	if a.again != "" && status != http.StatusCreated {
		header.Set("Retry-After", a.again)
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(`{"orderId":"` + id + `"}`))}, nil
}

func newRunner(a *answering, o Options) *runner {
	a.watch = newWatcher()
	return &runner{options: o, target: Target{APIs: []string{"http://stack"}}, watch: a.watch, client: &http.Client{Transport: a}, until: func(ctx context.Context, at time.Time) { sleep(ctx, time.Until(at)) }}
}

func TestOpenLoopCountsTheWaitOfRequestsThatCouldNotBeSentInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := Options{Orders: 5, Concurrency: 1, Rate: 100, Patience: time.Minute}
		r := newRunner(&answering{take: func(n int) time.Duration {
			if n == 1 {
				return time.Second // all requests behind it are late
			}
			return time.Millisecond
		}}, o)

		all, err := r.load(t.Context(), o, newShape(1, 0, 1, 1), nil)

		require.NoError(t, err)
		latencies := make([]time.Duration, len(all))
		for i, s := range all {
			assert.Equal(t, due(i, o.Rate), s.due)
			latencies[i] = s.answered - s.due
		}
		ms := time.Millisecond
		assert.Equal(t, []time.Duration{ms, 1000 * ms, 991 * ms, 982 * ms, 973 * ms}, latencies)
	})
}

func TestClosedLoopSendsTheNextRequestAfterEachAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := Options{Orders: 4, Concurrency: 2, Patience: time.Minute}
		r := newRunner(&answering{take: func(int) time.Duration { return 10 * time.Millisecond }}, o)

		all, err := r.load(t.Context(), o, newShape(1, 0, 1, 1), nil)

		require.NoError(t, err)
		for i, s := range all {
			assert.Equal(t, time.Duration(i/2)*10*time.Millisecond, s.due, i)
			assert.Equal(t, s.due+10*time.Millisecond, s.answered)
			assert.Equal(t, s.answered+time.Millisecond, s.ended)
			assert.Equal(t, confirmed, s.end)
			assert.Equal(t, time.Microsecond, s.relayed)
		}
		assert.Equal(t, 4, all.confirmed())
	})
}

func TestAClosedLoopSendsARefusedOrderAgainWhenItMay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := Options{Orders: 2, Concurrency: 1, Patience: time.Minute}
		a := &answering{take: func(int) time.Duration { return 10 * time.Millisecond }, again: "2", status: func(n int) int {
			if n < 2 {
				return http.StatusServiceUnavailable
			}
			return http.StatusCreated
		}}

		all, err := newRunner(a, o).load(t.Context(), o, newShape(1, 0, 1, 1), nil)

		require.NoError(t, err)
		assert.Equal(t, 2, all[0].retried)
		assert.Equal(t, 4*time.Second+30*time.Millisecond, all[0].answered, "two waits and three answers")
		assert.Equal(t, []int{http.StatusCreated, http.StatusCreated}, []int{all[0].status, all[1].status})
		var r Report
		r.fill(all)
		assert.Equal(t, []int{2, 2}, []int{r.Accepted, r.Retried})
		assert.Empty(t, r.Refused)
		var text strings.Builder
		require.NoError(t, r.Write(&text))
		assert.Contains(t, text.String(), "2 accepted, 2 confirmed, 0 failed, 0 lost, sent again 2 times after a refusal")

		a.n.Store(0)
		o.Orders, o.Rate = 3, 100
		all, err = newRunner(a, o).load(t.Context(), o, newShape(1, 0, 1, 1), nil)
		require.NoError(t, err)
		assert.Equal(t, map[int]int{503: 2}, refusals(all), "an open loop goes on")
	})
}

func TestMembersTakeTurnsInTheOrders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := Options{Orders: 9, Concurrency: 4, Patience: time.Minute}
		a := &answering{take: func(int) time.Duration { return time.Millisecond }}
		r := newRunner(a, o)
		r.target.APIs = []string{"http://a", "http://b", "http://c"}

		_, err := r.load(t.Context(), o, newShape(1, 0, 1, 1), nil)

		require.NoError(t, err)
		for _, host := range []string{"a", "b", "c"} {
			n, _ := a.hosts.Load(host)
			assert.EqualValues(t, 3, n.(*atomic.Int64).Load(), host)
		}
	})
}

func TestRefusedOrdersAreCountedAndNotWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := Options{Orders: 10, Concurrency: 1, Patience: time.Minute}
		r := newRunner(&answering{take: func(int) time.Duration { return time.Millisecond }, status: func(n int) int {
			if n < 3 {
				return http.StatusServiceUnavailable
			}
			return http.StatusCreated
		}}, o)

		all, err := r.load(t.Context(), o, newShape(1, 0, 1, 1), nil)

		require.NoError(t, err)
		assert.Equal(t, map[int]int{503: 3}, refusals(all))
		assert.Equal(t, 7, all.ended())
	})
}

func TestALoadWithoutAcceptedOrdersIsAnError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := Options{Orders: 3, Concurrency: 1, Patience: time.Minute}
		r := newRunner(&answering{take: func(int) time.Duration { return 0 }, status: func(int) int { return http.StatusInternalServerError }}, o)
		_, err := r.load(t.Context(), o, newShape(1, 0, 1, 1), nil)
		assert.ErrorContains(t, err, "map[500:3]")
	})
}

func TestEndThatIsReadBeforeTheAnswerCounts(t *testing.T) {
	t.Parallel()
	w, all, begin := newWatcher(), make(samples, 2), time.Now()
	w.follow(begin, all)
	w.record("a", end{outcome: confirmed, at: begin.Add(5 * time.Millisecond)})
	w.record("a", end{outcome: confirmed, at: begin.Add(9 * time.Millisecond)}) // again, before the answer
	w.record("stranger", end{outcome: confirmed, at: begin})
	w.accepted("a", 0)
	w.accepted("b", 1)
	w.record("b", end{outcome: failed, at: begin.Add(7 * time.Millisecond)})
	w.record("b", end{outcome: confirmed, at: begin.Add(8 * time.Millisecond)}) // an order ends only once

	require.NoError(t, w.await(t.Context(), time.Minute))
	assert.Equal(t, samples{{end: confirmed, ended: 5 * time.Millisecond}, {end: failed, ended: 7 * time.Millisecond}}, all)
	assert.Equal(t, int64(2), w.ends.Load())
	assert.Equal(t, int64(1), w.good.Load())
}

func TestWaitForEndsGivesUpOnlyWhenNoneComes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, begin := newWatcher(), time.Now()
		w.follow(begin, make(samples, 3))
		for n, id := range []string{"a", "b", "c"} {
			w.accepted(id, n)
		}
		time.AfterFunc(40*time.Second, func() { w.record("a", end{outcome: confirmed, at: time.Now()}) })
		time.AfterFunc(80*time.Second, func() { w.record("b", end{outcome: confirmed, at: time.Now()}) })

		err := w.await(t.Context(), time.Minute)

		require.ErrorIs(t, err, ErrLost)
		assert.ErrorContains(t, err, "1, and none for 1m0s")
		assert.Equal(t, 140*time.Second, time.Since(begin))
	})
}

func TestProgressShowsTheRateOfTheLastSecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		o := Options{Orders: 45, Concurrency: 1, Patience: time.Minute}
		r := newRunner(&answering{take: func(n int) time.Duration {
			if n < 4 {
				return time.Second
			}
			return 50 * time.Millisecond
		}}, o)
		r.show = NewProgress(&out)

		_, err := r.load(t.Context(), o, newShape(1, 0, 1, 1), nil)

		require.NoError(t, err)
		assert.Regexp(t, `^   5\.0s  \d+ of 45 answered  \d+ confirmed  (19|20|21)/s in the last second\n`, out.String())
	})
}

func TestProgressIsALineNowAndThenWhereThereIsNoTerminal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		o := Options{Orders: 12, Concurrency: 1, Patience: time.Minute}
		r := newRunner(&answering{take: func(int) time.Duration { return time.Second }}, o)
		r.show = NewProgress(&out)

		_, err := r.load(t.Context(), o, newShape(1, 0, 1, 1), nil)

		require.NoError(t, err)
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		require.Len(t, lines, 2, out.String())
		assert.Contains(t, lines[1], "of 12 answered")
		assert.Contains(t, lines[1], "confirmed")
		assert.NotContains(t, out.String(), "\r")
	})
}

// Delays of the generator would count as latency of the harness.
func TestTheTimetableIsKeptToFractionsOfAMillisecond(t *testing.T) {
	alarm, err := newAlarm()
	require.NoError(t, err)
	defer func() { require.NoError(t, alarm.close()) }()
	lateness := make([]time.Duration, 41)
	begin := time.Now()
	for n := range lateness {
		at := begin.Add(time.Duration(n+1) * 20 * time.Millisecond)
		alarm.until(t.Context(), at)
		lateness[n] = time.Since(at)
		assert.GreaterOrEqual(t, lateness[n], time.Duration(0))
	}
	slices.Sort(lateness)
	assert.Less(t, lateness[len(lateness)/4], 500*time.Microsecond, "of all: %v", lateness)

	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	begin = time.Now()
	alarm.until(ctx, begin.Add(time.Hour)) // it ends meanwhile
	alarm.until(ctx, begin.Add(time.Hour)) // it has ended
	assert.Less(t, time.Since(begin), time.Minute)
}
