// Package direct reaches what is beside this program over HTTP: itself, and the functions and sinks of its cluster. What
// comes out goes straight there, whatever HTTP_PROXY says: a proxy is for the world outside. It does not know the names
// of a cluster, and has no business with the events.
package direct

import "net/http"

// Transport returns a new transport with the settings of http.DefaultTransport, but without the proxy of the environment.
func Transport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // nothing here replaces it
	t.Proxy = nil
	return t
}
