package main

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/knative"
)

// wall is a wall clock that can be set. Its times have no monotonic reading, like those of a schedule.
type wall struct{ offset atomic.Int64 } // in nanoseconds

func (w *wall) now() time.Time { return time.Now().Add(time.Duration(w.offset.Load())).Round(0) }

func TestTicksGoOnWhenTheClockIsSet(t *testing.T) {
	for name, step := range map[string]time.Duration{
		"not at all": 0, "back an hour": -time.Hour, "forward an hour": time.Hour, "back a little": -300 * time.Millisecond,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				every2s, err := knative.ParseSchedule("*/2 * * * * *")
				require.NoError(t, err)
				var clock wall
				var ticks []time.Time
				ctx, cancel := context.WithCancel(t.Context())
				go keepTime(ctx, every2s, clock.now, func() { ticks = append(ticks, time.Now()) })
				begin := time.Now()
				time.Sleep(61 * time.Second)
				clock.offset.Store(int64(step))
				time.Sleep(time.Minute)
				cancel()
				synctest.Wait()

				assert.InDelta(t, 60, len(ticks), 1)
				for i, at := range ticks {
					before := begin
					if i > 0 {
						before = ticks[i-1]
					}
					assert.Less(t, at.Sub(before), 4*time.Second, "tick %d", i)
					assert.Greater(t, at.Sub(before), time.Second, "tick %d: none comes twice", i)
				}
			})
		})
	}
}

func TestATickIsLeftOutWhileTheOneBeforeIsHandled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handled := 0
		slow := func(context.Context, event.Event) error {
			time.Sleep(5 * time.Second)
			handled++
			return nil
		}
		p, err := startPings(t.Context(), []knative.PingSource{{Name: "sweep", Schedule: "*/2 * * * * *", Sink: "relay"}},
			map[string]func(context.Context, event.Event) error{"relay": slow})
		require.NoError(t, err)
		time.Sleep(11 * time.Second) // ticks at 2 and 8; those at 4, 6 and 10 are skipped
		p.stop()
		assert.Equal(t, 2, handled, "the one under way is waited for")
		time.Sleep(time.Minute)
		assert.Equal(t, 2, handled)
	})
}

func TestAPingSourceThatCannotTickEndsTheStart(t *testing.T) {
	deliver := map[string]func(context.Context, event.Event) error{}
	_, err := startPings(t.Context(), []knative.PingSource{{Name: "sweep", Schedule: "*/2 * * * * *", Sink: "relay"}}, deliver)
	assert.ErrorContains(t, err, "the function relay takes no CloudEvents")
	deliver["relay"] = nil
	_, err = startPings(t.Context(), []knative.PingSource{{Name: "sweep", Schedule: "often", Sink: "relay"}}, deliver)
	assert.ErrorContains(t, err, "PingSource sweep")
}
