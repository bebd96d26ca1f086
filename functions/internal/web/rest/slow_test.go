package rest_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/web/rest"
)

// lines is a listener with one connection in memory, whose deadlines follow the test's clock.
type lines struct{ accept chan net.Conn }

func (l lines) Accept() (net.Conn, error) {
	if c, ok := <-l.accept; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (l lines) Close() error   { return nil }
func (l lines) Addr() net.Addr { return &net.IPAddr{} }

// connect serves a handler and returns a connection to it. Both end with the test.
func connect(t *testing.T, handler http.HandlerFunc) net.Conn {
	t.Helper()
	client, server := net.Pipe()
	l := lines{make(chan net.Conn, 1)}
	l.accept <- server
	s := &http.Server{Handler: handler, ReadTimeout: 30 * time.Second}
	go func() { _ = s.Serve(l) }() // it ends with the listener
	t.Cleanup(func() {
		close(l.accept)
		require.NoError(t, client.Close())
		require.NoError(t, s.Close())
	})
	return client
}

const head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\n"

func TestABodyThatComesTooSlowlyIs408(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		connection := connect(t, rest.Handler(discard, func(w http.ResponseWriter, r *http.Request) error {
			_, err := rest.Body(w, r)
			return err
		}))
		begin := time.Now()
		_, err := io.WriteString(connection, head+"{")
		require.NoError(t, err)

		answer, err := http.ReadResponse(bufio.NewReader(connection), nil)

		require.NoError(t, err)
		defer func() { assert.NoError(t, answer.Body.Close()) }()
		assert.Equal(t, http.StatusRequestTimeout, answer.StatusCode)
		assert.True(t, answer.Close)
		assert.Equal(t, 10*time.Second, time.Since(begin))
		var problem rest.Problem
		require.NoError(t, json.NewDecoder(answer.Body).Decode(&problem))
		assert.Equal(t, "the body did not arrive within 10s", problem.Detail)
	})
}

func TestAClientThatWaitsInSilenceKeepsItsRequest(t *testing.T) {
	for name, request := range map[string]string{"with a body": head + "1234", "without one": strings.Replace(head, "Length: 4", "Length: 0", 1)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				connection := connect(t, func(w http.ResponseWriter, r *http.Request) {
					_, err := rest.ReadBody(w, r, 4)
					assert.NoError(t, err)
					select {
					case <-r.Context().Done():
						w.WriteHeader(http.StatusInternalServerError)
					case <-time.After(time.Hour):
					}
				})
				_, err := io.WriteString(connection, request)
				require.NoError(t, err)
				answer, err := http.ReadResponse(bufio.NewReader(connection), nil)
				require.NoError(t, err)
				assert.NoError(t, answer.Body.Close())
				assert.Equal(t, http.StatusOK, answer.StatusCode)
			})
		})
	}
}

func TestACompressedBodyIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		codings []string
		status  int
	}{
		"none":                  {nil, 0},
		"the one that is none":  {[]string{"identity"}, 0},
		"that in capitals":      {[]string{"IDENTITY, identity"}, 0},
		"an empty one":          {[]string{""}, 0},
		"gzip":                  {[]string{"gzip"}, http.StatusUnsupportedMediaType},
		"gzip after nothing":    {[]string{"identity, gzip"}, http.StatusUnsupportedMediaType},
		"gzip on a second line": {[]string{"identity", "gzip"}, http.StatusUnsupportedMediaType},
		"a coding that is none": {[]string{"aws-chunked"}, http.StatusUnsupportedMediaType},
		"one that begins alike": {[]string{"identityx"}, http.StatusUnsupportedMediaType},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("{}"))
			r.Header["Content-Encoding"], r.Header["Content-Type"] = c.codings, []string{"application/json"}
			_, err := rest.Body(httptest.NewRecorder(), r)
			if c.status == 0 {
				assert.NoError(t, err)
				return
			}
			var problem *rest.Problem
			require.ErrorAs(t, err, &problem)
			assert.Equal(t, c.status, problem.Status)
		})
	}
}
