// Package registrytest starts schema registries in the process of a test. They are stand-ins: they store schemas and number
// them as Confluent's does, but compare none with the ones before it.
package registrytest

import (
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/sr/srfake"
)

// Registry is a registry that can be away.
type Registry struct {
	*srfake.Registry

	// Away makes it answer every request with 503.
	Away atomic.Bool
	// Requests counts the requests to it.
	Requests atomic.Int64
}

// Start starts a registry that ends with the test.
func Start(t testing.TB) *Registry {
	t.Helper()
	r := &Registry{Registry: srfake.New()}
	t.Cleanup(r.Close)
	r.Intercept(func(w http.ResponseWriter, _ *http.Request) bool {
		r.Requests.Add(1)
		if r.Away.Load() {
			http.Error(w, "down for maintenance", http.StatusServiceUnavailable)
		}
		return r.Away.Load()
	})
	return r
}

// Config returns the variables by which functions find the registry, with further ones.
func (r *Registry) Config(others ...string) map[string]string {
	config := map[string]string{"SCHEMA_REGISTRY_URL": r.URL()}
	for i := 0; i+1 < len(others); i += 2 {
		config[others[i]] = others[i+1]
	}
	return config
}
