// Package direct has the HTTP transport for calls within the deployment: to this process, and to the functions and sinks of
// its cluster. It ignores HTTP_PROXY: a proxy is for the outside, does not know the names of a cluster, and must not see the
// events.
package direct

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

// Transport returns a new transport with the settings of http.DefaultTransport, but without the proxy of the environment, and
// with the TLS settings of Trust.
func Transport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // nothing here replaces it
	t.Proxy = nil
	t.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		settings, ok := trusted.Load(address)
		if !ok {
			settings = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		ctx, cancel := context.WithTimeout(ctx, dialWithin)
		defer cancel()
		return (&tls.Dialer{Config: settings.(*tls.Config)}).DialContext(ctx, network, address) //nolint:forcetypeassert // see Trust
	}
	return t
}

// dialWithin bounds the connection and the handshake together.
const dialWithin = 15 * time.Second

var trusted sync.Map // *tls.Config by address

// Trust sets the TLS settings of the calls to an address, host:port, that this process makes from then on. A harness is called
// by the address on which it listens, which its certificate need not have.
func Trust(address string, settings *tls.Config) { trusted.Store(address, settings) }
