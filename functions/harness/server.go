package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"
)

// The times that a client has.
const (
	headWithin  = 5 * time.Second  // for the head of its request
	sendWithin  = 30 * time.Second // for all of its request
	takeWithin  = 10 * time.Second // to take a piece of the answer, however long that is
	silentUntil = 2 * time.Minute  // between two requests
	// endWithin is how long requests may go on once the harness is stopping: as long as one of the API may take.
	endWithin = 10 * time.Second
)

const (
	pieceSize  = 16 << 10  // how much of an answer is written at a time
	bufferSize = 256 << 10 // how much the kernel keeps for a client that does not read: by itself it takes megabytes
)

// newHTTPServer returns the server of everything that the harness answers.
func newHTTPServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler: handler, ReadHeaderTimeout: headWithin, ReadTimeout: sendWithin, IdleTimeout: silentUntil, MaxHeaderBytes: 1 << 16,
		DisableGeneralOptionsHandler: true, // it would answer OPTIONS * by any host
	}
}

// paced is a listener whose clients have to take each piece of an answer within a time. The server's own WriteTimeout would
// bound the answer as a whole, and so end streams and slow downloads.
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
		_ = buffered.SetWriteBuffer(bufferSize) // with more it is only memory that is wasted
	}
	return pacedConn{conn, l.within}, nil
}

type pacedConn struct {
	net.Conn
	within time.Duration
}

// Write writes piece by piece, each with its own deadline.
func (c pacedConn) Write(all []byte) (written int, err error) {
	for {
		piece := all[written:min(len(all), written+pieceSize)]
		if err := c.SetWriteDeadline(time.Now().Add(c.within)); err != nil {
			return written, err
		}
		n, err := c.Conn.Write(piece)
		written += n
		if err != nil {
			return written, fmt.Errorf("a client that has to take %d bytes within %s: %w", pieceSize, c.within, err)
		}
		if written == len(all) {
			return written, nil
		}
	}
}

// CloseWrite lets a client read the answer to a request that the server has not read to its end: the server calls it before
// it closes the connection.
func (c pacedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// endHTTP waits for the requests under way, and then cuts off the clients that have not sent theirs or taken the answers.
// cut tells whether there were any.
func endHTTP(ctx context.Context, server *http.Server, within time.Duration) (cut bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if server.Shutdown(ctx) == nil {
		return false, nil
	}
	return true, server.Close()
}
