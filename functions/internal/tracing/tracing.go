// Package tracing follows an order through the system. Requests and events come in with the trace that they belong to,
// by the W3C headers and by the distributed-tracing extension of CloudEvents; spans come out, to an OTLP endpoint when
// there is one. Without one nothing is made: a trace that somebody else has begun is passed on, and named in the log.
package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"example.com/orders/events"
)

// Endpoint is the variable that names where spans go, as OpenTelemetry has it. Its other variables hold as well:
// OTEL_EXPORTER_OTLP_HEADERS, OTEL_SERVICE_NAME (orders when it is not set), OTEL_TRACES_SAMPLER and so on.
const Endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"

// tracer makes the spans of this process.
type tracer struct {
	trace.Tracer
	provider trace.TracerProvider
}

// current is nil when nothing is traced.
var current atomic.Pointer[tracer]

// Start exports spans by OTLP over HTTP when Endpoint is set, and does nothing else. stop sends what is left, within
// its ctx. What cannot be exported is told to the log and costs nobody else anything.
func Start(ctx context.Context, environ map[string]string, log *slog.Logger) (stop func(context.Context) error, err error) {
	if environ[Endpoint] == "" {
		return func(context.Context) error { return nil }, nil
	}
	exporter, err := otlptracehttp.New(ctx) // it reads the environment
	if err != nil {
		return nil, fmt.Errorf("%s: %w", Endpoint, err)
	}
	about, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "orders")),
		resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces not exported", "error", err) }))
	provider := sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(about))
	end := Use(provider)
	return func(ctx context.Context) error {
		end()
		return provider.Shutdown(ctx)
	}, nil
}

// Use makes spans by a provider until end.
func Use(provider trace.TracerProvider) (end func()) {
	before := current.Swap(&tracer{provider.Tracer("example.com/orders"), provider})
	return func() { current.Store(before) }
}

// propagator is the W3C trace context.
var propagator propagation.TraceContext

// Of returns ctx in the trace of an event: the span that made the event is the parent of what begins in it. In the ctx
// of an event without a trace there is none.
func Of(ctx context.Context, e event) context.Context {
	cause := events.CauseOf(e)
	if cause.Traceparent == "" {
		if trace.SpanContextFromContext(ctx).IsValid() {
			return trace.ContextWithSpanContext(ctx, trace.SpanContext{})
		}
		return ctx
	}
	// Extract keeps the span of ctx when the trace context cannot be read.
	outside := trace.ContextWithSpanContext(ctx, trace.SpanContext{})
	return propagator.Extract(outside, propagation.MapCarrier{"traceparent": cause.Traceparent, "tracestate": cause.Tracestate})
}

// Cause puts the trace of ctx into a cause, so that what it leads to belongs to the trace. Without a trace in ctx the
// cause stays as it is.
func Cause(ctx context.Context, cause events.Cause) events.Cause {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return cause
	}
	carrier := propagation.MapCarrier{}
	propagator.Inject(ctx, carrier)
	cause.Traceparent, cause.Tracestate = carrier["traceparent"], carrier["tracestate"]
	return cause
}

// nothing ends a span that there is not.
func nothing(error) {}

// Span begins a step of the trace of ctx, and none outside of a trace. end takes the step's error.
func Span(ctx context.Context, name string) (spanned context.Context, end func(error)) {
	t := current.Load()
	if t == nil || !trace.SpanContextFromContext(ctx).IsValid() {
		return ctx, nothing
	}
	links, _ := ctx.Value(companions{}).([]trace.Link)
	ctx, span := t.Start(ctx, name, trace.WithLinks(links...))
	return ctx, ending(span)
}

func ending(span trace.Span) func(error) {
	return func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}
}
