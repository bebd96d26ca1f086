package functiontest

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"example.com/orders/functions/internal/testkit/porttest"
)

// Serve serves HTTP with handle until the test ends, and returns the URL.
func Serve(t testing.TB, handle http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewUnstartedServer(handle)
	porttest.Try(t, func(port int) error {
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			_ = server.Listener.Close() // httptest's own listener
			server.Listener = listener
		}
		return err
	})
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}
