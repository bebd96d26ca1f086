// Package tracing follows an order through the system. Requests and events come in with the trace that they belong to,
// by the distributed-tracing extension of CloudEvents; spans come out, when the process makes them by a provider (see
// otlp). Without one nothing is made: a trace that somebody else has begun is passed on, and named in the log.
package tracing

import (
	"context"
	"sync/atomic"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"example.com/orders/events"
)

// tracer makes the spans of this process.
type tracer struct {
	trace.Tracer
	provider trace.TracerProvider
}

// current is nil when nothing is traced.
var current atomic.Pointer[tracer]

// Use makes spans by a provider until end.
func Use(provider trace.TracerProvider) (end func()) {
	before := current.Swap(&tracer{provider.Tracer("example.com/orders"), provider})
	return func() { current.Store(before) }
}

// Provider is the provider in use, nil when nothing is traced.
func Provider() trace.TracerProvider {
	if t := current.Load(); t != nil {
		return t.provider
	}
	return nil
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
