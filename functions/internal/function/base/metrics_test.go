package base_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/observe/exposition"
	"example.com/orders/functions/internal/testkit/functiontest"
)

func TestEachOutcomeIsCounted(t *testing.T) {
	f, _, _ := started(t)
	counted := exposition.New()
	f.Metrics = counted.Metrics
	other := created(t)
	first, second := functiontest.Event(t, created(t), 1), functiontest.Event(t, other, 1)
	for _, handled := range []struct {
		e      event.Event
		broken error
	}{{first, nil}, {first, nil}, {second, errors.New("no stock table")}, {second, errors.New("no stock table")}, {second, delivery.Poison(errors.New("never"))}, {second, nil}} {
		f.broken[other.OrderID] = handled.broken
		_ = f.Handle(t.Context(), handled.e) // other tests check the answer
	}
	require.NoError(t, testutil.GatherAndCompare(counted, strings.NewReader(`
# HELP orders_function_events_total Events by what a function did with them: handled, duplicate (absorbed), retried (failed, to be delivered again), poisoned.
# TYPE orders_function_events_total counter
orders_function_events_total{function="reserve-stock",outcome="handled"} 2
orders_function_events_total{function="reserve-stock",outcome="duplicate"} 1
orders_function_events_total{function="reserve-stock",outcome="retried"} 2
orders_function_events_total{function="reserve-stock",outcome="poisoned"} 1
`), "orders_function_events_total"))
}
