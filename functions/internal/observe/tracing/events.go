package tracing

import (
	"context"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"example.com/orders/events"
)

type event = ce.Event

// attributes are those of OpenTelemetry's conventions for messages and CloudEvents, and the project's own.
func attributes(e event) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("messaging.system", "kafka"),
		attribute.String("messaging.destination.name", e.Type()),
		attribute.String("cloudevents.event_id", e.ID()),
		attribute.String("cloudevents.event_source", e.Source()),
		attribute.String("cloudevents.event_type", e.Type()),
		attribute.String("order.id", e.Subject()),
		attribute.String("correlation.id", events.CauseOf(e).CorrelationID),
	}
}

// Consume begins a span for the handling of an event by a function, as a child of the span that emitted the event. Spans in
// the returned ctx, and those that the returned event causes, are its children. A trace that ctx has already is linked.
func Consume(ctx context.Context, consumer string, e event) (handling context.Context, delivered event, end func(error)) {
	outer := trace.SpanContextFromContext(ctx)
	t := current.Load()
	if t == nil {
		return Of(ctx, e), e, nothing
	}
	options := []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(attributes(e)...),
		trace.WithAttributes(attribute.String("messaging.operation.type", "process"), attribute.String("messaging.consumer.group.name", consumer)),
	}
	if n := Attempt(ctx); n > 0 {
		options = append(options, trace.WithAttributes(attribute.Int("delivery.attempt", n)))
	}
	parent := ctx // an event without a trace belongs to the trace of its delivery
	inner := Of(ctx, e)
	if maker := trace.SpanContextFromContext(inner); maker.IsValid() {
		parent = inner
		if outer.IsValid() && outer.SpanID() != maker.SpanID() {
			options = append(options, trace.WithLinks(trace.Link{SpanContext: outer}))
		}
	}
	handling, span := t.Start(parent, "process "+e.Type()+" by "+consumer, options...)
	carrier := propagation.MapCarrier{}
	propagator.Inject(handling, carrier)
	delivered = e.Clone()
	for _, name := range carrier.Keys() {
		delivered.SetExtension(name, carrier[name])
	}
	return handling, delivered, ending(span)
}

// Publish begins a span for the publishing of each event, as a child of the span that emitted it. end takes the outcome of
// one of them.
func Publish(ctx context.Context, es []event) (end func(i int, err error)) {
	t := current.Load()
	if t == nil {
		return func(int, error) {}
	}
	spans := make([]trace.Span, len(es))
	for i, e := range es {
		parent := Of(ctx, e)
		if !trace.SpanContextFromContext(parent).IsValid() {
			spans[i] = trace.SpanFromContext(parent) // a span that does nothing
			continue
		}
		_, spans[i] = t.Start(parent, "publish "+e.Type(), trace.WithSpanKind(trace.SpanKindProducer),
			trace.WithAttributes(attributes(e)...),
			trace.WithAttributes(attribute.String("messaging.operation.type", "send"), attribute.Int("messaging.batch.message_count", len(es))))
	}
	return func(i int, err error) { ending(spans[i])(err) }
}

// companions is the key of the links to the traces of a batch.
type companions struct{}

// Lead returns ctx for the work on a batch of events: its spans are children of the first event's span, with links to the
// others.
func Lead(ctx context.Context, es []event) context.Context {
	if current.Load() == nil || len(es) == 0 {
		return ctx
	}
	var links []trace.Link
	for _, e := range es[1:] {
		if sc := trace.SpanContextFromContext(Of(ctx, e)); sc.IsValid() {
			links = append(links, trace.Link{SpanContext: sc})
		}
	}
	return context.WithValue(Of(ctx, es[0]), companions{}, links)
}
