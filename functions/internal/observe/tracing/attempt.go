package tracing

import "context"

type attempt struct{}

// WithAttempt records the number of the delivery attempt of an event, from 1.
func WithAttempt(ctx context.Context, n int) context.Context {
	return context.WithValue(ctx, attempt{}, n)
}

// Attempt returns the number of the delivery attempt of an event, 0 if it is unknown: Knative's KafkaSource does not send
// it.
func Attempt(ctx context.Context) int {
	n, _ := ctx.Value(attempt{}).(int)
	return n
}
