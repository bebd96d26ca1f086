package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/porttest"
)

// answering serves handler on 127.0.0.1 and returns its address.
func answering(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	require.NoError(t, server.Listener.Close())
	porttest.Try(t, func(port int) (err error) {
		server.Listener, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		return err
	})
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func TestHealthSucceedsForAHealthyHarness(t *testing.T) {
	addr := answering(t, func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "/health", r.URL.Path)
		_, _ = io.WriteString(w, `{"status":"UP"}`)
	})
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	for name, asked := range map[string]string{"its address": addr, "all addresses": "0.0.0.0:" + port, "no host": ":" + port} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			require.NoError(t, run(t.Context(), []string{"health", "--addr", asked}, streams{&out, io.Discard}))
			assert.JSONEq(t, `{"status":"UP"}`, out.String())
		})
	}
	t.Run("HARNESS_ADDR", func(t *testing.T) {
		t.Setenv("HARNESS_ADDR", addr)
		assert.NoError(t, run(t.Context(), []string{"health"}, streams{io.Discard, io.Discard}))
	})
}

func TestHealthNamesTheFailingParts(t *testing.T) {
	addr := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, `{"status":"DOWN","reasons":{"notify":"has not started yet"}}`)
	})
	var out bytes.Buffer
	err := run(t.Context(), []string{"health", "--addr", addr}, streams{&out, io.Discard})
	require.ErrorContains(t, err, "503")
	require.ErrorContains(t, err, "notify")
	assert.Empty(t, out.String())
}

func TestHealthFailsWhereNoHarnessIs(t *testing.T) {
	err := run(t.Context(), []string{"health", "--addr", porttest.Address(t)}, streams{io.Discard, io.Discard})
	assert.ErrorContains(t, err, "no harness answers")
}

func TestHealthDoesNotWaitForAHarnessThatHangs(t *testing.T) {
	addr := answering(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := run(ctx, []string{"health", "--addr", addr}, streams{io.Discard, io.Discard})
	assert.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestReachableIsAnAddressOfThisMachine(t *testing.T) {
	for addr, want := range map[string]string{
		"0.0.0.0:8080": "127.0.0.1:8080", ":8080": "127.0.0.1:8080", "[::]:8080": "127.0.0.1:8080",
		"127.0.0.1:8080": "127.0.0.1:8080", "localhost:8080": "localhost:8080", "[::1]:80": "[::1]:80",
	} {
		assert.Equal(t, want, reachable(addr), addr)
	}
}
