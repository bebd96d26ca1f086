package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/porttest"
)

// serving serves handler like the harness, to clients that have within for each piece.
func serving(t *testing.T, within time.Duration, handler http.HandlerFunc) (server *http.Server, address string) {
	t.Helper()
	var listener net.Listener
	porttest.Try(t, func(port int) (err error) {
		listener, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		return err
	})
	server = newHTTPServer(handler)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(paced{listener, within}) }()
	t.Cleanup(func() {
		assert.NoError(t, server.Close())
		assert.ErrorIs(t, <-ended, http.ErrServerClosed)
	})
	return server, listener.Addr().String()
}

// unread sends the text of requests on a connection with a tiny buffer and reads nothing. It is closed with the test.
func unread(t testing.TB, address, text string) net.Conn {
	t.Helper()
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
		return errors.Join(c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) }), err)
	}}
	conn, err := dialer.Dial("tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() }) // it may be closed already
	_, err = io.WriteString(conn, text)
	require.NoError(t, err)
	return conn
}

const large = 8 << 20 // more than all buffers between a server and its client

func TestClientThatTakesNothingIsCutOff(t *testing.T) {
	failed := make(chan error, 1)
	_, address := serving(t, 50*time.Millisecond, func(w http.ResponseWriter, _ *http.Request) {
		_, err := w.Write(make([]byte, large))
		failed <- err
	})

	unread(t, address, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")

	assert.ErrorIs(t, <-failed, os.ErrDeadlineExceeded)
}

func TestStreamToAClientThatTakesNothingIsCutOff(t *testing.T) {
	failed := make(chan error, 1)
	_, address := serving(t, 50*time.Millisecond, func(w http.ResponseWriter, _ *http.Request) {
		control := http.NewResponseController(w)
		for {
			if _, err := io.WriteString(w, "data: 1\n\n"); err != nil {
				failed <- err
				return
			}
			if err := control.Flush(); err != nil {
				failed <- err
				return
			}
		}
	})

	unread(t, address, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")

	assert.ErrorIs(t, <-failed, os.ErrDeadlineExceeded)
}

// recording is a connection that records writes and their deadlines.
type recording struct {
	net.Conn
	deadline time.Time
	written  bytes.Buffer
	writes   []time.Time // their deadlines
	largest  int
	fail     error
}

func (r *recording) SetWriteDeadline(at time.Time) error { r.deadline = at; return nil }

func (r *recording) Write(piece []byte) (int, error) {
	r.writes, r.largest = append(r.writes, r.deadline), max(r.largest, len(piece))
	r.deadline = time.Time{}
	if r.fail != nil && len(r.writes) == 3 {
		return 7, r.fail
	}
	return r.written.Write(piece)
}

func TestLongAnswerHasItsTimePieceByPiece(t *testing.T) {
	r := &recording{}
	text := bytes.Repeat([]byte("0123456789"), 10_000)

	begin := time.Now()
	n, err := pacedConn{r, time.Minute}.Write(text)

	require.NoError(t, err)
	assert.Equal(t, len(text), n)
	assert.Equal(t, text, r.written.Bytes())
	assert.LessOrEqual(t, r.largest, pieceSize)
	assert.Len(t, r.writes, 7)
	for _, deadline := range r.writes {
		assert.WithinRange(t, deadline, begin.Add(time.Minute), time.Now().Add(time.Minute))
	}
	for i := 1; i < len(r.writes); i++ {
		assert.False(t, r.writes[i].Before(r.writes[i-1]), "it is set anew")
	}

	n, err = pacedConn{&recording{fail: os.ErrDeadlineExceeded}, time.Minute}.Write(text)
	assert.Equal(t, 2*pieceSize+7, n)
	assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
	_, err = pacedConn{&recording{}, time.Minute}.Write(nil)
	assert.NoError(t, err)
}

// TestEndIsBoundedWhateverClientsDo stops a server while clients neither read their answers nor send their requests.
func TestEndIsBoundedWhateverClientsDo(t *testing.T) {
	entered := make(chan struct{}, 2)
	left := make(chan error, 2)
	server, address := serving(t, time.Hour, func(w http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		_, err := io.Copy(io.Discard, r.Body)
		if err == nil {
			_, err = w.Write(make([]byte, large))
		}
		left <- err
	})
	unread(t, address, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	unread(t, address, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n1")
	<-entered
	<-entered

	cut, err := endHTTP(t.Context(), server, 10*time.Millisecond)

	require.NoError(t, err)
	assert.True(t, cut)
	assert.Error(t, <-left)
	assert.Error(t, <-left)
}

func TestEndLetsRequestsBeAnswered(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	server, address := serving(t, time.Minute, func(http.ResponseWriter, *http.Request) {
		close(entered)
		<-release
	})
	answered := make(chan error, 1)
	go func() {
		response, err := http.Get("http://" + address)
		if err == nil {
			err = response.Body.Close()
		}
		answered <- err
	}()
	<-entered
	server.RegisterOnShutdown(func() { close(release) })

	cut, err := endHTTP(context.Background(), server, time.Minute)

	require.NoError(t, err)
	assert.False(t, cut)
	assert.NoError(t, <-answered)
}
