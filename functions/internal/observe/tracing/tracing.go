// Package tracing propagates the trace of an order through requests and events, in the distributed-tracing extension of
// CloudEvents. With a provider (see otlp) it also creates spans. Without one it only passes traces on and adds them to the
// log.
package tracing

import (
	"context"
	"sync/atomic"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"example.com/orders/events"
	"example.com/orders/functions/internal/observe/oneline"
)

// tracer creates the spans of this process.
type tracer struct {
	trace.Tracer
	provider trace.TracerProvider
}

// current is nil without tracing.
var current atomic.Pointer[tracer]

// Use creates spans with a provider until end.
func Use(provider trace.TracerProvider) (end func()) {
	before := current.Swap(&tracer{provider.Tracer("example.com/orders"), provider})
	return func() { current.Store(before) }
}

// Provider returns the provider in use, nil without tracing.
func Provider() trace.TracerProvider {
	if t := current.Load(); t != nil {
		return t.provider
	}
	return nil
}

// propagator is the W3C trace context.
var propagator propagation.TraceContext

// Of returns ctx in the trace of an event: the span that emitted the event is the parent of spans in it. For an event
// without a trace, ctx has none.
func Of(ctx context.Context, e event) context.Context {
	cause := events.CauseOf(e)
	if cause.Traceparent == "" {
		if trace.SpanContextFromContext(ctx).IsValid() {
			return trace.ContextWithSpanContext(ctx, trace.SpanContext{})
		}
		return ctx
	}
	// Extract keeps the span of ctx if it cannot read the trace context.
	outside := trace.ContextWithSpanContext(ctx, trace.SpanContext{})
	return propagator.Extract(outside, propagation.MapCarrier{"traceparent": cause.Traceparent, "tracestate": cause.Tracestate})
}

// Cause adds the trace of ctx to a cause. Without a trace in ctx the cause stays as it is.
func Cause(ctx context.Context, cause events.Cause) events.Cause {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return cause
	}
	carrier := propagation.MapCarrier{}
	propagator.Inject(ctx, carrier)
	cause.Traceparent, cause.Tracestate = carrier["traceparent"], carrier["tracestate"]
	return cause
}

// nothing is the end of a span that does not exist.
func nothing(error) {}

// Span begins a span in the trace of ctx; without a trace it does nothing. end takes the step's error.
func Span(ctx context.Context, name string) (spanned context.Context, end func(error)) {
	t := current.Load()
	if t == nil || !trace.SpanContextFromContext(ctx).IsValid() {
		return ctx, nothing
	}
	links, _ := ctx.Value(companions{}).([]trace.Link)
	ctx, span := t.Start(ctx, name, trace.WithLinks(links...))
	return ctx, ending(span)
}

// ending returns the end of a span, with the error of its step. Errors of others may quote an address.
func ending(span trace.Span) func(error) {
	return func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, oneline.Masked(err.Error()))
		}
		span.End()
	}
}
