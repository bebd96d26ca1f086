package groupcommit

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// double answers each call with twice its argument.
func double(in []int) []Result[int] {
	out := make([]Result[int], len(in))
	for i, n := range in {
		out[i].Out = 2 * n
	}
	return out
}

func TestACallAloneRunsAtOnce(t *testing.T) {
	g := New(10, 1, time.Second, func(_ context.Context, in []int) []Result[int] { return double(in) })

	out, err := g.Do(t.Context(), 21)

	require.NoError(t, err)
	assert.Equal(t, 42, out)
}

func TestCallsThatWaitRunTogetherUpToTheSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sizes []int
		release := make(chan struct{})
		g := New(3, 1, time.Minute, func(_ context.Context, in []int) []Result[int] {
			sizes = append(sizes, len(in)) // one run at a time
			<-release
			return double(in)
		})
		var group sync.WaitGroup
		for n := range 6 {
			group.Go(func() {
				out, err := g.Do(t.Context(), n)
				assert.NoError(t, err)
				assert.Equal(t, 2*n, out)
			})
			synctest.Wait() // the first is running, all others wait
		}
		close(release)
		group.Wait()
		assert.Equal(t, []int{1, 3, 2}, sizes)
	})
}

func TestRunsAreInParallelUpToTheBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		running, most := 0, 0
		release := make(chan struct{})
		g := New(1, 2, time.Minute, func(_ context.Context, in []int) []Result[int] {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			<-release
			mu.Lock()
			running--
			mu.Unlock()
			return double(in)
		})
		var group sync.WaitGroup
		for n := range 5 {
			group.Go(func() { _, _ = g.Do(t.Context(), n) })
		}
		synctest.Wait()
		close(release)
		group.Wait()
		assert.Equal(t, 2, most)
	})
}

func TestASecondRunBeginsForAFullOneOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var sizes []int
		release := make(chan struct{})
		g := New(3, 2, time.Minute, func(_ context.Context, in []int) []Result[int] {
			mu.Lock()
			sizes = append(sizes, len(in))
			mu.Unlock()
			<-release
			return double(in)
		})
		var group sync.WaitGroup
		begun := make([]int, 0, 5)
		for n := range 5 {
			group.Go(func() { _, _ = g.Do(t.Context(), n) })
			synctest.Wait()
			begun = append(begun, len(sizes))
		}
		close(release)
		group.Wait()
		assert.Equal(t, []int{1, 1, 1, 2, 2}, begun)
		assert.Equal(t, []int{1, 3, 1}, sizes)
	})
}

func TestEachCallGetsItsOwnError(t *testing.T) {
	bad := errors.New("bad")
	g := New(10, 1, time.Second, func(_ context.Context, in []int) []Result[int] {
		out := double(in)
		for i, n := range in {
			if n%2 == 1 {
				out[i].Err = bad
			}
		}
		return out
	})
	var group sync.WaitGroup
	for n := range 20 {
		group.Go(func() {
			_, err := g.Do(t.Context(), n)
			if n%2 == 1 {
				assert.ErrorIs(t, err, bad)
			} else {
				assert.NoError(t, err)
			}
		})
	}
	group.Wait()
}

func TestPanicAndMissingResultsAreErrorsOfTheCalls(t *testing.T) {
	g := New(10, 1, time.Second, func(_ context.Context, in []int) []Result[int] {
		if in[0] == 1 {
			panic("broken")
		}
		return nil
	})

	_, err := g.Do(t.Context(), 1)
	require.ErrorContains(t, err, "broken")
	_, err = g.Do(t.Context(), 2)
	assert.ErrorContains(t, err, "0 results for 1 calls")
}

func TestACallerWhoseTimeIsOverDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		ran := false
		g := New(10, 1, time.Minute, func(ctx context.Context, in []int) []Result[int] {
			<-release
			ran = true
			assert.NoError(t, ctx.Err(), "the run works for many: it does not end with one of its callers")
			return double(in)
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()

		_, err := g.Do(ctx, 1)

		require.ErrorIs(t, err, context.DeadlineExceeded)
		close(release)
		synctest.Wait()
		assert.True(t, ran)
	})
}
