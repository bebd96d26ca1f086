package tracing_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"example.com/orders/events"
	"example.com/orders/functions/internal/observe/tracing"
)

const (
	order       = "01890a5d-ac96-774b-bcce-b302099a8057"
	traceID     = "4bf92f3577b34da6a3ce929d0e0e4736"
	spanID      = "00f067aa0ba902b7"
	traceparent = "00-" + traceID + "-" + spanID + "-01"
)

// created is a fact with a trace.
func created(t *testing.T, traceparent string) event.Event {
	t.Helper()
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	e, err := events.New(events.OrderCreatedV1{
		OrderID: order, CustomerEmail: "a@example.com", Items: []events.Item{{SKU: "A", Quantity: 1, UnitPrice: 2}}, TotalAmount: 2, CreatedAt: at,
	}, 1, at, events.Cause{CorrelationID: "flow", Traceparent: traceparent})
	require.NoError(t, err)
	return e
}

// record keeps the spans that end during the test.
func record(t *testing.T) *tracetest.InMemoryExporter {
	t.Helper()
	spans := tracetest.NewInMemoryExporter()
	t.Cleanup(tracing.Use(sdk.NewTracerProvider(sdk.WithSyncer(spans))))
	return spans
}

func TestEventsBelongToTheTraceOfTheirCause(t *testing.T) {
	spans := record(t)
	before := created(t, traceparent)

	ctx, delivered, end := tracing.Consume(tracing.WithAttempt(t.Context(), 3), "reserve-stock", before)
	_, inner := tracing.Span(ctx, "transaction")
	inner(nil)
	end(errors.New("stock is away"))

	ended := spans.GetSpans()
	require.Len(t, ended, 2)
	step, transaction := ended[1], ended[0]
	assert.Equal(t, "process order.created by reserve-stock", step.Name)
	assert.Equal(t, trace.SpanKindConsumer, step.SpanKind)
	assert.Equal(t, traceID, step.SpanContext.TraceID().String())
	assert.Equal(t, spanID, step.Parent.SpanID().String())
	assert.Equal(t, codes.Error, step.Status.Code)
	assert.Empty(t, step.Links)
	attributes := map[string]string{}
	for _, a := range step.Attributes {
		attributes[string(a.Key)] = a.Value.String()
	}
	assert.Equal(t, order, attributes["order.id"])
	assert.Equal(t, "flow", attributes["correlation.id"])
	assert.Equal(t, order+"#1", attributes["cloudevents.event_id"])
	assert.Equal(t, "3", attributes["delivery.attempt"])
	assert.Equal(t, step.SpanContext.SpanID(), transaction.Parent.SpanID())

	assert.Equal(t, traceparent, events.CauseOf(before).Traceparent, "the event that came in stays as it is")
	assert.Equal(t, "00-"+traceID+"-"+step.SpanContext.SpanID().String()+"-01", events.CauseOf(delivered).Traceparent)
}

func TestAnEventIsPublishedInTheTraceThatMadeIt(t *testing.T) {
	spans := record(t)
	end := tracing.Publish(t.Context(), []event.Event{created(t, traceparent), created(t, "")})
	end(0, nil)
	end(1, nil)
	ended := spans.GetSpans()
	require.Len(t, ended, 1, "one without a trace has none")
	assert.Equal(t, "publish order.created", ended[0].Name)
	assert.Equal(t, spanID, ended[0].Parent.SpanID().String())
}

func TestTheErrorOfASpanHasNoAddress(t *testing.T) {
	spans := record(t)
	_, _, end := tracing.Consume(t.Context(), "notify", created(t, traceparent))
	end(errors.New("550 <alice@example.com>: no such recipient"))
	ended := spans.GetSpans()
	require.Len(t, ended, 1)
	assert.Equal(t, sdk.Status{Code: codes.Error, Description: "550 <a…e@example.com>: no such recipient"}, ended[0].Status)
}

func TestAGroupIsLinkedToTheTracesOfAllItsEvents(t *testing.T) {
	spans := record(t)
	const other = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-01"
	ctx := tracing.Lead(t.Context(), []event.Event{created(t, traceparent), created(t, other), created(t, "")})
	_, end := tracing.Span(ctx, "transaction")
	end(nil)
	ended := spans.GetSpans()
	require.Len(t, ended, 1)
	assert.Equal(t, spanID, ended[0].Parent.SpanID().String())
	require.Len(t, ended[0].Links, 1)
	assert.Equal(t, "bbbbbbbbbbbbbbbb", ended[0].Links[0].SpanContext.SpanID().String())
}

func TestACommandLinksTheRequestThatBroughtIt(t *testing.T) {
	spans := record(t)
	request, end := sdk.NewTracerProvider().Tracer("").Start(t.Context(), "request")
	_, _, done := tracing.Consume(request, "create-order", created(t, traceparent))
	done(nil)
	_, _, done = tracing.Consume(request, "create-order", created(t, ""))
	done(nil)
	ended := spans.GetSpans()
	require.Len(t, ended, 2)
	require.Len(t, ended[0].Links, 1)
	assert.Equal(t, end.SpanContext().SpanID(), ended[0].Links[0].SpanContext.SpanID())
	assert.Equal(t, end.SpanContext().SpanID(), ended[1].Parent.SpanID(), "an event without a trace is part of the request's")
}

func TestWithoutAProviderATraceIsPassedOnAndNothingIsMade(t *testing.T) {
	e := created(t, traceparent)

	ctx, delivered, end := tracing.Consume(t.Context(), "reserve-stock", e)
	end(nil)
	assert.Equal(t, e, delivered)
	assert.Equal(t, traceID, trace.SpanContextFromContext(ctx).TraceID().String(), "for the log")
	assert.Equal(t, events.Cause{Traceparent: "theirs"}, tracing.Cause(t.Context(), events.Cause{Traceparent: "theirs"}))

	batch := []event.Event{created(t, "")}
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		_, done := tracing.Span(t.Context(), "transaction")
		done(nil)
		tracing.Publish(t.Context(), batch)(0, nil)
		tracing.Lead(t.Context(), batch)
	}), "off costs nothing")
}

func TestLinesOfTheLogNameTheirTraceAndAttempt(t *testing.T) {
	var written bytes.Buffer
	log := slog.New(tracing.Log(slog.NewJSONHandler(&written, nil))).With("function", "notify")
	log.InfoContext(t.Context(), "outside")
	log.InfoContext(tracing.WithAttempt(tracing.Of(t.Context(), created(t, traceparent)), 2), "inside", "order_id", order)
	log.InfoContext(tracing.Of(tracing.Of(t.Context(), created(t, traceparent)), created(t, "")), "another")

	var lines []map[string]any
	for decoder := json.NewDecoder(&written); decoder.More(); {
		var line map[string]any
		require.NoError(t, decoder.Decode(&line))
		lines = append(lines, line)
	}
	require.Len(t, lines, 3)
	assert.NotContains(t, lines[0], "trace_id")
	assert.NotContains(t, lines[0], "attempt")
	assert.Equal(t, traceID, lines[1]["trace_id"])
	assert.InDelta(t, 2, lines[1]["attempt"], 0)
	assert.Equal(t, "notify", lines[1]["function"])
	assert.NotContains(t, lines[2], "trace_id", "an event without a trace is not of the trace around it")
}
