package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/observe/exposition"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/porttest"
	"example.com/orders/functions/internal/web/rest"
)

// capped serves "served" on at most most connections, and answers on spare more.
func capped(t *testing.T, most, spare int) (c *connections, counted *exposition.Registry, address string) {
	t.Helper()
	counted = exposition.New()
	var listener net.Listener
	porttest.Try(t, func(port int) (err error) {
		listener, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		return err
	})
	c = &connections{most: most, spare: spare, metrics: counted.Metrics, log: slog.Default()}
	server := newHTTPServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "served") }))
	c.guard(server)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(c.listen(paced{listener, time.Minute})) }()
	t.Cleanup(func() {
		assert.NoError(t, server.Close())
		assert.ErrorIs(t, <-ended, http.ErrServerClosed)
		assert.Zero(t, c.open.Load(), "every connection was counted down again")
	})
	return c, counted, listener.Addr().String()
}

// dial opens a connection of its own.
func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, 10*time.Second)
	require.NoError(t, err)
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// requestOn sends a request on a connection and returns the status, the headers and the body of the answer; the status is 0 if the
// server has closed the connection.
func requestOn(t *testing.T, conn net.Conn) (status int, header http.Header, body string) {
	t.Helper()
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n") // it may be closed
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, nil, ""
	}
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, errors.Join(err, answer.Body.Close()))
	return answer.StatusCode, answer.Header, string(text)
}

// statusOn is the status of a request on a connection.
func statusOn(t *testing.T, conn net.Conn) int {
	t.Helper()
	status, _, _ := requestOn(t, conn)
	return status
}

func TestConnectionsAboveTheCapAreToldSo(t *testing.T) {
	c, counted, address := capped(t, 2, 1)
	first, second := dial(t, address), dial(t, address)
	for range 2 { // the connections stay
		require.Equal(t, http.StatusOK, statusOn(t, first))
		require.Equal(t, http.StatusOK, statusOn(t, second))
	}

	third := dial(t, address)
	status, header, body := requestOn(t, third)
	require.Equal(t, http.StatusServiceUnavailable, status)
	assert.Equal(t, "1", header.Get("Retry-After"))
	var p rest.Problem
	require.NoError(t, json.Unmarshal([]byte(body), &p))
	assert.Contains(t, p.Detail, "the server has 2 connections, as many as it takes")
	assert.Zero(t, statusOn(t, third), "it is closed after the answer")
	require.Eventually(t, func() bool { return c.open.Load() == 2 }, 10*time.Second, time.Millisecond)

	waiting := dial(t, address) // above the cap, and has not asked yet
	require.Eventually(t, func() bool { return c.open.Load() == 3 }, 10*time.Second, time.Millisecond)
	assert.Zero(t, statusOn(t, dial(t, address)), "even more are closed at once")
	require.NoError(t, first.Close())
	require.Eventually(t, func() bool { return c.open.Load() == 2 }, 10*time.Second, time.Millisecond)
	require.Equal(t, http.StatusOK, statusOn(t, waiting), "there is room by now")
	require.Equal(t, http.StatusOK, statusOn(t, second))
	assert.InDelta(t, 2, functiontest.Counted(t, counted, "orders_limited_total", "connections"), 0)
}

func TestASilentConnectionAboveTheCapIsClosed(t *testing.T) {
	c, _, address := capped(t, 1, 1)
	dial(t, address)
	silent := dial(t, address)
	require.Eventually(t, func() bool { return c.open.Load() == 2 }, 10*time.Second, time.Millisecond)
	_, err := silent.Read(make([]byte, 1))
	assert.ErrorIs(t, err, io.EOF, "after the time for a head")
}

func TestMaxConnectionsIsANumber(t *testing.T) {
	t.Parallel()
	for environ, flag := range map[string]string{"HARNESS_MAX_CONNECTIONS=many": "", "HARNESS_MAX_CONNECTIONS=0": "", "X=": "--max-connections=1000001"} {
		args := []string{"up", "--data", t.TempDir()}
		if flag != "" {
			args = append(args, flag)
		}
		p := launch(t, []string{environ}, args...)
		<-p.ended
		require.Error(t, p.err)
		assert.Contains(t, p.log.String(), "give a number from 1 to 1000000")
	}
}
