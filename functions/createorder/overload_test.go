package createorder

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/observe/exposition"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/web/rest"
)

// full starts a function and places orders until one is refused; accepted has those that were not. The clock stands still, so
// that their age never tells them apart from new ones. A look for a key has a minute.
func full(t *testing.T) (f *Function, accepted []Accepted, counted *exposition.Registry) {
	t.Helper()
	f, counted = New(), exposition.New()
	f.Metrics, f.within = counted.Metrics, time.Minute
	now := time.Now().UTC().Truncate(time.Microsecond)
	f.Now = func() time.Time { return now }
	functiontest.Start(t, f, map[string]string{"ADMIT_MAX_WAIT": "1s"})
	for n := range 1000 {
		a, err := f.Create(t.Context(), keyed(fmt.Sprint("order ", n), 1))
		if err != nil {
			assertBusy(t, err)
			return f, accepted, counted
		}
		accepted = append(accepted, a)
	}
	require.Fail(t, "nothing was refused")
	return nil, nil, nil
}

func assertBusy(t *testing.T, err error) {
	t.Helper()
	assertBusyWith(t, "this one was not stored", err)
}

func assertBusyWith(t *testing.T, became string, err error) {
	t.Helper()
	problem, ok := errors.AsType[*rest.Problem](err)
	require.True(t, ok, "%v", err)
	assert.Equal(t, http.StatusServiceUnavailable, problem.Status)
	assert.Contains(t, problem.Detail, "more orders arrive than can be confirmed within 1s: "+became)
}

func TestOrdersAreRefusedWhileTooManyAreUnderWay(t *testing.T) {
	f, accepted, counted := full(t)
	assert.LessOrEqual(t, len(accepted), 100, "before it is known how fast they end")
	assert.Equal(t, len(accepted), mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders"), "each accepted order is there, and no other")
	assert.InDelta(t, len(accepted), functiontest.Counted(t, counted, "orders_admitted_total", f.Name), 0)
	assert.InDelta(t, 1, functiontest.Counted(t, counted, "orders_limited_total", "overload"), 0)

	_, err := f.DB.ExecContext(t.Context(), "UPDATE orders SET status = 'CONFIRMED'")
	require.NoError(t, err)
	for {
		if _, err = f.Create(t.Context(), keyed("later", 1)); err == nil {
			break
		}
		assertBusy(t, err) // until a sample has seen it
	}
}

func TestARepeatedOrderIsAnsweredWhileOthersAreRefused(t *testing.T) {
	f, accepted, _ := full(t)
	functiontest.Concurrently(len(accepted), func(n int) {
		again, err := f.Create(t.Context(), keyed(fmt.Sprint("order ", n), 1))
		if assert.NoError(t, err) {
			assert.Equal(t, accepted[n].OrderID, again.OrderID)
			assert.True(t, again.Replayed)
		}
	})
	_, err := f.Create(t.Context(), keyed("order 0", 2))
	require.ErrorIs(t, err, ErrKeyReused)
	_, err = f.Create(t.Context(), keyed("another", 1))
	assertBusy(t, err)
}

func TestAnOrderIsRefusedBeforeItIsReadUnlessItIsARepetition(t *testing.T) {
	f := New()
	f.within = time.Minute
	now := time.Now().UTC().Truncate(time.Microsecond)
	f.Now = func() time.Time { return now }
	functiontest.Start(t, f, map[string]string{"ADMIT_MAX_WAIT": "1m"})
	accepted := keyed("accepted", 1)
	_, err := f.Create(t.Context(), accepted)
	require.NoError(t, err)
	require.NoError(t, f.Refuse(t.Context(), nil))

	var waiting sync.WaitGroup
	ctx, leave := context.WithCancel(t.Context())
	t.Cleanup(func() { leave(); waiting.Wait() })
	for n := 0; n < 1000 && f.Refuse(t.Context(), nil) == nil; n++ {
		waiting.Go(func() { _, _ = f.Create(ctx, keyed(fmt.Sprint("order ", n), 1)) })
		time.Sleep(time.Millisecond)
	}
	problem, ok := errors.AsType[*rest.Problem](f.Refuse(t.Context(), KeyHash("new")))
	require.True(t, ok)
	assert.Equal(t, http.StatusServiceUnavailable, problem.Status)
	require.NoError(t, f.Refuse(t.Context(), accepted.KeyHash))
	again, err := f.Create(t.Context(), accepted)
	require.NoError(t, err)
	assert.True(t, again.Replayed)
}

func TestARefusalDoesNotWaitForADatabaseThatDoesNotAnswer(t *testing.T) {
	f, accepted, counted := full(t)
	f.within = lookWithin
	f.DB.SetMaxOpenConns(1)
	busy, err := f.DB.Conn(t.Context())
	require.NoError(t, err)
	const notKnown = "whether an earlier request with this idempotency key stored one is not known yet"
	begun := time.Now()
	_, err = f.Create(t.Context(), keyed("order 0", 1))
	assertBusyWith(t, notKnown, err)
	assert.Less(t, time.Since(begun), batches.Timeout)
	assert.InDelta(t, 2, functiontest.Counted(t, counted, "orders_limited_total", "overload"), 0)

	require.NoError(t, busy.Close())
	f.within = time.Minute
	require.Eventually(t, func() bool {
		again, err := f.Create(t.Context(), keyed("order 0", 1))
		return err == nil && again.Replayed && again.OrderID == accepted[0].OrderID
	}, 10*time.Second, 10*time.Millisecond)
}

func TestOrdersByCloudEventAreRefusedToo(t *testing.T) {
	f, _, _ := full(t)
	w := post(f, binary("Ce-Id", "one more"), body)
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	assert.Equal(t, "1", w.Header().Get("Retry-After"))
	assert.Contains(t, problemOf(t, w).Detail, "send it again after that")
}

func TestAdmissionIsConfigured(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 0, "0": 0, "200ms": 200 * time.Millisecond, "1m": time.Minute} {
		wait, err := maxWait(map[string]string{"ADMIT_MAX_WAIT": text})
		require.NoError(t, err)
		assert.Equal(t, want, wait, text)
	}
	for _, text := range []string{"1", "-1s", "199ms", "61s", "soon", "0s"} {
		err := New().Start(t.Context(), map[string]string{"ADMIT_MAX_WAIT": text})
		require.Error(t, err)
		assert.True(t, strings.HasPrefix(err.Error(), fmt.Sprintf("ADMIT_MAX_WAIT is %q: give how long", text)), err)
	}
}
