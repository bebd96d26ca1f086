package instance

import (
	"net/http"

	"example.com/orders/functions/internal/rest"
)

// Route serves a pattern of an API: 503 until Start is done, and an answer that names its flow, in the header that
// rest.Correlation sets.
func (i *Instance) Route(mux *http.ServeMux, pattern string, handle func(http.ResponseWriter, *http.Request) error) {
	mux.HandleFunc(pattern, rest.Handler(i.Logger, func(w http.ResponseWriter, r *http.Request) error {
		if err := i.Started(); err != nil {
			return rest.Unavailable(err.Error())
		}
		rest.Correlation(w, r, i.NewID)
		return handle(w, r)
	}))
}
