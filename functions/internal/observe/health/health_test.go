package health_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/observe/health"
)

var errAway = errors.New("away")

// hang blocks until release, whatever happens to its ctx, like a driver that ignores it.
func hang(release <-chan struct{}) func(context.Context) error {
	return func(context.Context) error {
		<-release
		return nil
	}
}

func TestAHangingCheckIsReportedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		c := health.Check{Ask: hang(release)}
		begin := time.Now()
		require.ErrorIs(t, c.Err(t.Context()), health.ErrHangs)
		assert.Equal(t, health.Within, time.Since(begin))
		close(release)
		synctest.Wait()
		assert.NoError(t, c.Err(t.Context()), "it is asked anew when it goes on")
	})
}

func TestACheckThatEndsWithItsDeadlineHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := health.Check{Ask: func(ctx context.Context) error {
			<-ctx.Done()
			return fmt.Errorf("read: %w", ctx.Err())
		}}
		assert.ErrorIs(t, c.Err(t.Context()), health.ErrHangs)
	})
}

func TestAThingIsAskedOnceForAllWhoAskBeforeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		release := make(chan struct{})
		c := health.Check{Ask: func(ctx context.Context) error {
			if asked.Add(1) > 1 {
				return errAway // it fails during the first check
			}
			return hang(release)(ctx)
		}}
		var all sync.WaitGroup
		all.Go(func() { assert.NoError(t, c.Err(t.Context())) })
		time.Sleep(time.Millisecond)
		for range 100 {
			all.Go(func() { assert.ErrorIs(t, c.Err(t.Context()), errAway, "the answer may be from before the failure") })
		}
		synctest.Wait()
		close(release)
		all.Wait()
		assert.Equal(t, int32(2), asked.Load())
	})
}

func TestAnswersAreKeptForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		var answer error
		c := health.Check{Kept: time.Second, Ask: func(context.Context) error {
			asked++
			return answer
		}}
		for range 3 {
			require.NoError(t, c.Err(t.Context()))
		}
		assert.Equal(t, 1, asked)
		time.Sleep(time.Second)
		answer = errAway
		for range 3 {
			require.ErrorIs(t, c.Err(t.Context()), errAway)
		}
		assert.Equal(t, 2, asked, "a failure too: those who wait for the thing ask often")
		time.Sleep(100 * time.Millisecond)
		answer = nil
		require.NoError(t, c.Err(t.Context()), "but for less than anybody minds")
	})
}

func TestWhoIsGoneWaitsForNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		c := health.Check{Ask: hang(release)}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		assert.ErrorIs(t, c.Err(ctx), context.Canceled)
	})
}

func TestAllChecksRunAtOnceEvenIfOneHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		things := map[string]func(context.Context) error{
			"well": func(context.Context) error { return nil },
			"away": func(context.Context) error { return errAway },
		}
		for i := range 20 {
			things[fmt.Sprint("hangs ", i)] = hang(release)
		}
		begin := time.Now()
		failed := health.All(t.Context(), things)
		assert.Less(t, time.Since(begin), 3*time.Second)
		assert.Len(t, failed, 21)
		require.ErrorIs(t, failed["away"], errAway)
		require.ErrorIs(t, failed["hangs 7"], health.ErrHangs)
		close(release)
		assert.Equal(t, map[string]error{"away": errAway}, health.All(t.Context(), things))
	})
}

func TestAPauseGrowsWithASuccessfulReadingOnly(t *testing.T) {
	assert.Equal(t, time.Second, health.Pause(time.Second, 10, time.Millisecond, nil))
	assert.Equal(t, 20*time.Second, health.Pause(time.Second, 10, 2*time.Second, nil))
	assert.Equal(t, time.Second, health.Pause(time.Second, 10, 20*time.Second, errAway))
}
