package tracing

import "context"

type attempt struct{}

// WithAttempt says at which attempt an event is being delivered, from 1.
func WithAttempt(ctx context.Context, n int) context.Context {
	return context.WithValue(ctx, attempt{}, n)
}

// Attempt is at which attempt an event is being delivered, 0 when that is not known: a KafkaSource of Knative does not
// tell.
func Attempt(ctx context.Context) int {
	n, _ := ctx.Value(attempt{}).(int)
	return n
}
