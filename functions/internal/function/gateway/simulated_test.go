package gateway_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/functions/internal/testkit/gatewaytest"
)

func TestTheSimulatedGatewayConforms(t *testing.T) {
	gatewaytest.Conform(t, func(*testing.T) gatewaytest.Subject { return gateway.NewSimulated(gateway.Scenario{}) })
}

// outcome runs an authorization until it has an answer, and returns what the first call did and the answer.
func outcome(t *testing.T, s *gateway.Simulated, orderID string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	a := gateway.Authorization{Key: gateway.AuthorizationKey(orderID), OrderID: orderID, Amount: 1299, Currency: "EUR"}
	first, err := s.Authorize(ctx, a)
	if err == nil {
		return string(first.Status)
	}
	_, unknown := s.Lookup(t.Context(), a.Key)
	again, againErr := s.Authorize(t.Context(), a)
	require.NoError(t, againErr)
	return fmt.Sprint(err, unknown, again.Status)
}

func TestARunWithTheSameOrdersRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		scenario, err := gateway.ParseScenario("decline=0.2,timeout=0.1,unknown=0.2")
		require.NoError(t, err)
		one, other, counts := gateway.NewSimulated(scenario), gateway.NewSimulated(scenario), map[string]int{}
		for i := range 2000 {
			id := fmt.Sprint("order-", i)
			got := outcome(t, one, id)
			require.Equal(t, got, outcome(t, other, id))
			counts[got]++
		}
		declined, failedBefore, failedAfter, lost := 0, 0, 0, 0
		for text, n := range counts {
			if text == "declined" {
				declined += n
			}
			if assert.NotEmpty(t, text); strings.Contains(text, "before any effect") {
				assert.Contains(t, text, "does not know the key")
				failedBefore += n
			}
			if strings.Contains(text, "after the effect") {
				assert.NotContains(t, text, "does not know the key")
				failedAfter += n
			}
			if strings.Contains(text, "lost its answer") {
				assert.NotContains(t, text, "does not know the key")
				lost += n
			}
		}
		assert.InDelta(t, 2000*0.2*0.7, declined, 80, "declined at the first call")
		for _, n := range []int{failedBefore, failedAfter, lost} {
			assert.InDelta(t, 2000*0.1, n, 60)
		}
	})
}

func TestLatencyIsBoundedByTheScenario(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := gateway.NewSimulated(gateway.Scenario{Latency: 20 * time.Millisecond, Jitter: 10 * time.Millisecond})
		different := map[time.Duration]bool{}
		for range 50 {
			a := gatewaytest.Authorization(1299)
			start := time.Now()
			_, err := s.Authorize(t.Context(), a)
			require.NoError(t, err)
			took := time.Since(start)
			assert.GreaterOrEqual(t, took, 20*time.Millisecond)
			assert.Less(t, took, 30*time.Millisecond)
			different[took] = true
		}
		assert.Greater(t, len(different), 10)
	})
}

func TestAnAmountThatEndsInSixIsTwoSecondsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, plain := range []bool{false, true} {
			s := gateway.NewSimulated(gateway.Scenario{PlainAmounts: plain})
			start := time.Now()
			answer, err := s.Authorize(t.Context(), gatewaytest.Authorization(1206))
			require.NoError(t, err)
			assert.Equal(t, gateway.Authorized, answer.Status)
			want := 2 * time.Second
			if plain {
				want = 0
			}
			assert.Equal(t, want, time.Since(start))
		}
	})
}

// TestACallerGivesUpOnEitherSideOfTheEffect uses the latency that an amount forces: a time-out of less than half of it ends
// the call before the effect, a longer one after it.
func TestACallerGivesUpOnEitherSideOfTheEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := gateway.NewSimulated(gateway.Scenario{})
		for within, moved := range map[time.Duration]bool{900 * time.Millisecond: false, 1100 * time.Millisecond: true} {
			a := gatewaytest.Authorization(1206)
			ctx, cancel := context.WithTimeout(t.Context(), within)
			_, err := s.Authorize(ctx, a)
			cancel()
			require.ErrorIs(t, err, context.DeadlineExceeded)
			_, err = s.Lookup(t.Context(), a.Key)
			if moved {
				assert.NoError(t, err)
			} else {
				assert.ErrorIs(t, err, gateway.ErrUnknownKey)
			}
		}
	})
}

func TestAGatewayThatLostItsMemoryPaysARefundWithAReference(t *testing.T) {
	a := gatewaytest.Authorization(1299)
	held, err := gateway.NewSimulated(gateway.Scenario{}).Authorize(t.Context(), a)
	require.NoError(t, err)

	restarted := gateway.NewSimulated(gateway.Scenario{})
	answer, err := restarted.Refund(t.Context(), gatewaytest.RefundOf(a, held.Reference))
	require.NoError(t, err)
	assert.Equal(t, gateway.Refunded, answer.Status)
	again, err := restarted.Refund(t.Context(), gatewaytest.RefundOf(a, held.Reference))
	require.NoError(t, err)
	assert.Equal(t, answer, again)
	late, err := restarted.Authorize(t.Context(), a)
	require.NoError(t, err)
	assert.Equal(t, gateway.Closed, late.Status)
}

func TestAScenarioThatIsNotUnderstoodIsRefused(t *testing.T) {
	for text, says := range map[string]string{
		"decline=2":           "give a number from 0 to 1",
		"decline=NaN":         "give a number from 0 to 1",
		"timeout":             "give a number from 0 to 1",
		"latency=fast":        "give a time",
		"latency=2h":          "give a time",
		"latency=20ms:-1ms":   "give a time",
		"refuse=0.1":          "is none of",
		"decline=0.1,,":       "is none of",
		"amounts=other":       "is none of",
		"unknown=0.1;decline": "give a number",
	} {
		_, err := gateway.ParseScenario(text)
		assert.ErrorContains(t, err, says, text)
	}
	s, err := gateway.ParseScenario(" decline=0.05, latency=20ms:5ms,timeout=0.01,unknown=1,amounts=plain")
	require.NoError(t, err)
	assert.Equal(t, gateway.Scenario{Decline: 0.05, Timeout: 0.01, Unknown: 1, Latency: 20 * time.Millisecond, Jitter: 5 * time.Millisecond, PlainAmounts: true}, s)
	s, err = gateway.ParseScenario("")
	require.NoError(t, err)
	assert.Zero(t, s)
}
