package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"

	"example.com/orders/functions/internal/observe/metrics"
	"example.com/orders/functions/internal/web/rest"
)

const (
	// defaultConnections is far above what people and programs of one installation open, and takes some 100 MiB.
	defaultConnections = 4096
	// highestConnections is the highest setting.
	highestConnections = 1_000_000
	// spareConnections is how many connections above the cap get an answer. Even more are closed unanswered.
	spareConnections = 64
)

// readConnections reads HARNESS_MAX_CONNECTIONS.
func readConnections(environ map[string]string) (int, error) {
	text := environ["HARNESS_MAX_CONNECTIONS"]
	if text == "" {
		return defaultConnections, nil
	}
	most, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("HARNESS_MAX_CONNECTIONS is %q: give a number from 1 to %d", text, highestConnections)
	}
	return most, nil
}

// connections caps how many connections a server has at a time. Requests on those above the cap get a 503, so that a client
// learns why; the kernel's queue, where they would wait otherwise, says nothing. Slow clients cannot hold those: the server
// waits for the head of a request only for headWithin, and closes the connection after the answer.
type connections struct {
	most    int
	spare   int
	metrics *metrics.Metrics
	log     *slog.Logger

	open atomic.Int64
}

// guard makes a server that serves the listener of listen refuse requests on connections above the cap.
func (c *connections) guard(server *http.Server) {
	served := server.Handler
	server.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		if over, ok := conn.(*tls.Conn); ok {
			conn = over.NetConn()
		}
		if counted, ok := conn.(*countedConn); ok && counted.excess {
			return context.WithValue(ctx, excessKey{}, true)
		}
		return ctx
	}
	refuse := rest.Handler(func() *slog.Logger { return c.log }, func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Connection", "close")
		return rest.Unavailable(fmt.Sprintf("the server has %d connections, as many as it takes: try again, and keep connections open only while they are used", c.most))
	})
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Context().Value(excessKey{}) != nil && c.open.Load() > int64(c.most) {
			c.metrics.CountLimited(metrics.LimitedConnections)
			refuse(w, r)
			return
		}
		served.ServeHTTP(w, r)
	})
}

// excessKey is in the contexts of connections that were above the cap when they were accepted.
type excessKey struct{}

// listen counts the connections that a listener accepts.
func (c *connections) listen(listener net.Listener) net.Listener {
	return countingListener{listener, c}
}

type countingListener struct {
	net.Listener
	c *connections
}

func (l countingListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		open := l.c.open.Add(1)
		counted := &countedConn{Conn: conn, c: l.c, excess: open > int64(l.c.most)}
		if open <= int64(l.c.most+l.c.spare) {
			return counted, nil
		}
		l.c.metrics.CountLimited(metrics.LimitedConnections)
		_ = counted.Close() // the client learns it anyway
	}
}

type countedConn struct {
	net.Conn
	c      *connections
	excess bool
	closed sync.Once
}

func (c *countedConn) Close() error {
	c.closed.Do(func() { c.c.open.Add(-1) })
	return c.Conn.Close()
}

// CloseWrite is that of the connection.
func (c *countedConn) CloseWrite() error { return closeWrite(c.Conn) }
