package base

import (
	"context"
	"log/slog"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/observe/metrics"
	"example.com/orders/functions/internal/observe/tracing"
	"example.com/orders/sql/dberror"
)

// Observe runs the handling of one event, logs its outcome once, and turns its error into the function's answer.
func (b *Base) Observe(ctx context.Context, e event.Event, handle func() (outcome string, err error)) error {
	if err := b.Started(); err != nil {
		return delivery.Result(err)
	}
	begin := time.Now()
	outcome, err := handle()
	return b.report(ctx, e, begin, outcome, err)
}

// report logs and counts the outcome of an event, and returns the function's answer. begin is when handling began. An empty
// outcome is not logged. If the database refuses a value for what it is, the event is poison: every delivery would fail.
func (b *Base) report(ctx context.Context, e event.Event, begin time.Time, outcome string, err error) error {
	if dberror.IsBadValue(err) {
		err = delivery.Poison(err)
	}
	if err == nil && outcome == "" {
		return nil
	}
	ctx = tracing.Of(ctx, e)
	b.Metrics.CountEvent(b.Name, counted(outcome, err), time.Since(begin))
	attributes := append(make([]slog.Attr, 0, 7),
		slog.String("function", b.Name), slog.String("event_id", e.ID()), slog.String("event_type", e.Type()),
		slog.String("correlation_id", events.CauseOf(e).CorrelationID), slog.Duration("duration", time.Since(begin).Round(time.Microsecond)))
	if e.Subject() != "" {
		attributes = append(attributes, slog.String("order_id", e.Subject()))
	}
	switch {
	case err == nil:
		b.Log.LogAttrs(ctx, slog.LevelInfo, "event handled", append(attributes, slog.String("outcome", outcome))...)
	case delivery.IsPoison(err):
		b.Log.LogAttrs(ctx, slog.LevelError, "event is poison", append(attributes, slog.Any("error", err))...)
	default:
		b.Log.LogAttrs(ctx, slog.LevelWarn, "event failed, will be retried", append(attributes, slog.Any("error", err))...)
	}
	return delivery.Result(err)
}

// counted returns the label of an outcome in the metrics.
func counted(outcome string, err error) metrics.Outcome {
	switch {
	case delivery.IsPoison(err):
		return metrics.Poisoned
	case err != nil:
		return metrics.Retried
	case outcome == repeated:
		return metrics.Duplicate
	default:
		return metrics.Handled
	}
}
