package tracing

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/otel/trace"
)

// Log adds the trace of a ctx, and the attempt of a delivery, to each line of a log.
func Log(next slog.Handler) slog.Handler { return logHandler{next} }

type logHandler struct{ slog.Handler }

// Handle writes a record.
func (l logHandler) Handle(ctx context.Context, r slog.Record) error {
	span, attempt := trace.SpanContextFromContext(ctx), Attempt(ctx)
	if span.HasTraceID() || attempt > 0 {
		r = r.Clone() // others may hold the same attributes
	}
	if span.HasTraceID() {
		r.AddAttrs(slog.String("trace_id", span.TraceID().String()))
	}
	if attempt > 0 {
		r.AddAttrs(slog.Int("attempt", attempt))
	}
	return l.Handler.Handle(ctx, r)
}

// WithAttrs returns a handler with attributes that still adds these values.
func (l logHandler) WithAttrs(attributes []slog.Attr) slog.Handler {
	return logHandler{l.Handler.WithAttrs(attributes)}
}

// WithGroup does the same for a group.
func (l logHandler) WithGroup(name string) slog.Handler { return logHandler{l.Handler.WithGroup(name)} }
