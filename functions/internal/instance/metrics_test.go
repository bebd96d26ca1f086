package instance_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/delivery"
	"example.com/orders/functions/internal/functiontest"
	"example.com/orders/functions/internal/metrics"
)

func TestEachOutcomeIsCounted(t *testing.T) {
	i, _, _ := started(t)
	i.Metrics = metrics.New()
	first, other := functiontest.Event(t, created(t), 1), functiontest.Event(t, created(t), 1)
	for _, handled := range []struct {
		e      event.Event
		broken error
	}{{first, nil}, {first, nil}, {other, errors.New("no stock table")}, {other, errors.New("no stock table")}, {other, delivery.Poison(errors.New("never"))}, {other, nil}} {
		_ = react(t.Context(), i, handled.e, handled.broken) // its answer is tested elsewhere
	}
	require.NoError(t, testutil.GatherAndCompare(i.Metrics.Registry, strings.NewReader(`
# HELP orders_function_events_total Events by what a function did with them: handled, duplicate (absorbed), retried (failed, to come again), poisoned.
# TYPE orders_function_events_total counter
orders_function_events_total{function="reserve-stock",outcome="handled"} 2
orders_function_events_total{function="reserve-stock",outcome="duplicate"} 1
orders_function_events_total{function="reserve-stock",outcome="retried"} 2
orders_function_events_total{function="reserve-stock",outcome="poisoned"} 1
`), "orders_function_events_total"))
}
