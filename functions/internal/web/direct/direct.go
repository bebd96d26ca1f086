// Package direct has the HTTP transport for calls within the deployment: to this process, and to the functions and sinks of
// its cluster. It ignores HTTP_PROXY: a proxy is for the outside, does not know the names of a cluster, and must not see the
// events.
package direct

import "net/http"

// Transport returns a new transport with the settings of http.DefaultTransport, but without the proxy of the environment.
func Transport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // nothing here replaces it
	t.Proxy = nil
	return t
}
