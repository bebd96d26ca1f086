package kafka_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"example.com/orders/events"
	"example.com/orders/functions/internal/observe/exposition"
	"example.com/orders/functions/internal/observe/tracing"
	"example.com/orders/functions/internal/testkit/kafkatest"
)

func TestEachAttemptIsKnownCountedAndASpanOfTheEventsTrace(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	t.Cleanup(tracing.Use(sdk.NewTracerProvider(sdk.WithSyncer(spans))))
	c := kafkatest.Start(t)
	name := topic(t, c, "order.created", 1)
	traceparents := map[string]bool{}
	p := newProbe(func(ctx context.Context, e event.Event, attempt int) error {
		assert.Equal(t, attempt, tracing.Attempt(ctx))
		traceparents[events.CauseOf(e).Traceparent] = true
		if attempt < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	o := options(t, c, name, p)
	counted := exposition.New()
	o.Metrics = counted.Metrics
	e := fact("1", "order-1", "x")
	e.SetExtension("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	publish(t, newProducer(t, c), e)
	r := start(t, o)
	p.awaitHandled(t, "1")
	r.stop(t)

	require.NoError(t, testutil.GatherAndCompare(counted, strings.NewReader(`
# HELP orders_delivery_retries_total Deliveries of a record that came after one that failed.
# TYPE orders_delivery_retries_total counter
orders_delivery_retries_total{consumer="reserve-stock",topic="`+name+`"} 2
`), "orders_delivery_retries_total"))
	require.Len(t, spans.GetSpans(), 3)
	for _, span := range spans.GetSpans() {
		assert.Equal(t, "4bf92f3577b34da6a3ce929d0e0e4736", span.SpanContext.TraceID().String())
		assert.Equal(t, "00f067aa0ba902b7", span.Parent.SpanID().String())
		assert.True(t, traceparents["00-"+span.SpanContext.TraceID().String()+"-"+span.SpanContext.SpanID().String()+"-01"], "what it causes comes below it")
	}
}
