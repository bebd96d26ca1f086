package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Time limits of a client.
const (
	headWithin  = 5 * time.Second  // for the head of a request
	sendWithin  = 30 * time.Second // for a whole request
	takeWithin  = 10 * time.Second // to read a piece of the answer, however long the answer is
	silentUntil = 2 * time.Minute  // between two requests
	// endWithin is how long requests may go on during shutdown: as long as an API request may take.
	endWithin = 10 * time.Second
)

const (
	pieceSize  = 16 << 10  // how much of an answer is written at a time
	bufferSize = 256 << 10 // the kernel's buffer for a client that does not read: its default is megabytes
)

// newHTTPServer returns an HTTP server of the harness. It speaks HTTP/1.1 only, over TLS too: paced bounds how slowly a client
// reads its answer, and over HTTP/2 a connection has many answers.
func newHTTPServer(handler http.Handler) *http.Server {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	return &http.Server{
		Protocols: protocols,
		Handler:   handler, ReadHeaderTimeout: headWithin, ReadTimeout: sendWithin, IdleTimeout: silentUntil, MaxHeaderBytes: 1 << 16,
		DisableGeneralOptionsHandler: true, // it would answer OPTIONS * for any host
	}
}

// paced is a listener whose clients must read each piece of an answer within a time limit. The server's own WriteTimeout
// would bound the whole answer, and end streams and slow downloads.
type paced struct {
	net.Listener
	within time.Duration
}

func (l paced) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if buffered, ok := conn.(interface{ SetWriteBuffer(bytes int) error }); ok {
		_ = buffered.SetWriteBuffer(bufferSize) // more would only waste memory
	}
	return pacedConn{conn, l.within}, nil
}

type pacedConn struct {
	net.Conn
	within time.Duration
}

// Write writes in pieces, each with its own deadline.
func (c pacedConn) Write(all []byte) (written int, err error) {
	for {
		piece := all[written:min(len(all), written+pieceSize)]
		if err := c.SetWriteDeadline(time.Now().Add(c.within)); err != nil {
			return written, err
		}
		n, err := c.Conn.Write(piece)
		written += n
		if err != nil {
			return written, fmt.Errorf("write %d bytes within %s to a client: %w", pieceSize, c.within, err)
		}
		if written == len(all) {
			return written, nil
		}
	}
}

// CloseWrite lets a client read the answer to a request that the server has not read completely: the server calls it before
// it closes the connection.
func (c pacedConn) CloseWrite() error { return closeWrite(c.Conn) }

func closeWrite(conn net.Conn) error {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// endHTTP waits for the requests in flight, and then cuts off the clients that have not sent their requests or read the
// answers. cut is whether there were any.
func endHTTP(ctx context.Context, server *http.Server, within time.Duration) (cut bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if server.Shutdown(ctx) == nil {
		return false, nil
	}
	return true, server.Close()
}
