package base

import (
	"context"
	"net/http"

	"example.com/orders/functions/internal/observe/metrics"
	"example.com/orders/functions/internal/web/identity"
	"example.com/orders/functions/internal/web/limit"
	"example.com/orders/functions/internal/web/rest"
)

// Route registers a pattern of an API. The handler answers 503 until Start has returned, 429 above the rate limit, names the
// flow in the header that rest.Correlation sets, and passes on only requests whose principal is known, which it puts into the
// context.
func (b *Base) Route(mux *http.ServeMux, pattern string, handle func(http.ResponseWriter, *http.Request) error) {
	b.patterns = append(b.patterns, pattern)
	mux.HandleFunc(pattern, rest.Handler(b.Logger, func(w http.ResponseWriter, r *http.Request) error {
		if err := b.Started(); err != nil {
			return rest.Unavailable(err.Error())
		}
		rest.Correlation(w, r, b.NewID)
		ctx, err := b.Identity.Authenticate(r)
		if err != nil {
			return err
		}
		if err := b.LimitRate(limit.With(ctx, r), r.Method != http.MethodGet && r.Method != http.MethodHead); err != nil {
			return err
		}
		return handle(w, r.WithContext(ctx))
	}))
}

// LimitRate counts a request of the principal, else of the client, in ctx (see limit.With) against the rate limits; write is
// whether it changes something. Its error is a *rest.Problem with status 429.
func (b *Base) LimitRate(ctx context.Context, write bool) error {
	err := b.limits.Admit(ctx, b.Now(), write)
	if err != nil {
		b.Metrics.CountLimited(metrics.LimitedRate)
	}
	return err
}

// ForOperators returns handle for operators alone.
func ForOperators(handle func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := identity.RequireOperator(r.Context()); err != nil {
			return err
		}
		return handle(w, r)
	}
}

// Patterns returns the patterns that were registered.
func (b *Base) Patterns() []string { return b.patterns }
