package base

import (
	"net/http"

	"example.com/orders/functions/internal/web/rest"
)

// Route registers a pattern of an API. The handler answers 503 until Start has returned, and names the flow in the header
// that rest.Correlation sets.
func (b *Base) Route(mux *http.ServeMux, pattern string, handle func(http.ResponseWriter, *http.Request) error) {
	mux.HandleFunc(pattern, rest.Handler(b.Logger, func(w http.ResponseWriter, r *http.Request) error {
		if err := b.Started(); err != nil {
			return rest.Unavailable(err.Error())
		}
		rest.Correlation(w, r, b.NewID)
		return handle(w, r)
	}))
}
