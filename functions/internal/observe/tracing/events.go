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

// attributes are those that the conventions of OpenTelemetry have for messages and CloudEvents, and the order's own.
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

// Consume begins the handling of an event by a function, as the child of what made the event. What is done in the
// returned ctx, and what the returned event causes, comes below it. A trace that ctx has already is linked.
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
	parent := ctx // an event without a trace is part of the one in which it comes
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

// Publish begins the sending of events, each as the child of what made it. end takes the outcome of one of them.
func Publish(ctx context.Context, es []event) (end func(i int, err error)) {
	t := current.Load()
	if t == nil {
		return func(int, error) {}
	}
	spans := make([]trace.Span, len(es))
	for i, e := range es {
		parent := Of(ctx, e)
		if !trace.SpanContextFromContext(parent).IsValid() {
			spans[i] = trace.SpanFromContext(parent) // one that does nothing
			continue
		}
		_, spans[i] = t.Start(parent, "publish "+e.Type(), trace.WithSpanKind(trace.SpanKindProducer),
			trace.WithAttributes(attributes(e)...),
			trace.WithAttributes(attribute.String("messaging.operation.type", "send"), attribute.Int("messaging.batch.message_count", len(es))))
	}
	return func(i int, err error) { ending(spans[i])(err) }
}

// companions is the key of the links to the traces of a group.
type companions struct{}

// Lead returns ctx for work that is done for several events at once: its spans come below the first event's, and are
// linked to the others.
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
