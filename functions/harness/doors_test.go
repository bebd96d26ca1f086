package main

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/certificatetest"
	"example.com/orders/functions/internal/testkit/porttest"
)

func TestOnlyALoopbackAddressIsOpenToEverybody(t *testing.T) {
	_, port, err := net.SplitHostPort(porttest.Address(t))
	require.NoError(t, err)
	named, err := os.Hostname()
	require.NoError(t, err)
	addresses, err := net.LookupHost(named)
	if err != nil || net.ParseIP(addresses[0]).IsLoopback() {
		named = "0.0.0.0" // the machine has no name that leads to its network
	}
	for name, c := range map[string]struct {
		o       options
		refused bool
	}{
		"loopback":                 {options{addr: "127.0.0.1:" + port}, false},
		"a name of loopback":       {options{addr: "localhost:" + port}, false},
		"all addresses":            {options{addr: "0.0.0.0:" + port}, true},
		"no address":               {options{addr: ":" + port}, true},
		"a name of another one":    {options{addr: named + ":" + port}, true},
		"a trusted network":        {options{addr: "0.0.0.0:" + port, trustNetwork: true}, false},
		"callers log in":           {options{addr: "0.0.0.0:" + port, environ: map[string]string{"OIDC_ISSUER": "https://id.example.com"}}, false},
		"the other port is public": {options{addr: "127.0.0.1:" + port, opsAddr: "0.0.0.0:0"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := openDoors(c.o, slog.New(slog.DiscardHandler))
			if !c.refused {
				require.NoError(t, err)
				d.close()
				return
			}
			require.ErrorContains(t, err, "OIDC_ISSUER")
			require.ErrorContains(t, err, "--trust-network")
			assert.Equal(t, exitCode(usage(assert.AnError)), exitCode(err))
			free, err := net.Listen("tcp", c.o.addr)
			require.NoError(t, err, "a refused address is free again")
			assert.NoError(t, free.Close())
		})
	}
}

// TestWhatIsForOperatorsHasAPortOfItsOwn runs a harness as in its image.
func TestWhatIsForOperatorsHasAPortOfItsOwn(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	address, ops := porttest.Address(t), porttest.Address(t)
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	p := launch(t, s.environ, "up", "--addr", "0.0.0.0:"+port, "--trust-network", "--ops-addr", ops, "--pprof", "--data", s.data)
	p.stack, p.url = s, "http://"+address
	p.await(t, "it is ready", func() bool { return p.get(t, "/health", nil) == http.StatusOK })
	inner := &process{url: "http://" + ops}

	for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/heap"} {
		assert.Equal(t, http.StatusNotFound, p.get(t, path, nil), path)
		assert.Equal(t, http.StatusOK, inner.get(t, path, nil), path)
	}
	for _, path := range []string{"/", "/api/orders", "/api/inventory", "/functions/create-order", "/console/topology"} {
		status, _, _ := inner.raw(t, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		assert.Equal(t, http.StatusNotFound, status, path)
	}
	for _, path := range []string{"/health", "/health/ready", "/health/live"} {
		var brief map[string]any
		require.Equal(t, http.StatusOK, p.get(t, path, &brief), path)
		assert.Equal(t, map[string]any{"status": "UP"}, brief, path)
		assert.Equal(t, http.StatusOK, inner.get(t, path, nil), path)
	}
	var detailed struct{ Components map[string]component }
	inner.get(t, "/health/ready", &detailed)
	assert.Contains(t, detailed.Components, "kafka")
	assert.Equal(t, http.StatusOK, inner.get(t, "/info", nil))
	assert.Contains(t, p.log.String(), "http://"+ops+"/metrics", "the banner says where they are")
	assert.Contains(t, s.operate(t, "", "health"), "UP")
	run, err := readRun(s.data)
	require.NoError(t, err)
	assert.Equal(t, ops, run.Ops)
	status, _, _ := inner.raw(t, "GET /metrics HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
	assert.Equal(t, http.StatusMisdirectedRequest, status)
	p.stop(t)
}

func TestWithoutAPortOfTheirOwnANetworkSeesNoneOfThem(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	address := porttest.Address(t)
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	p := launch(t, append(s.environ, "HARNESS_TRUST_NETWORK=true"), "up", "--addr", ":"+port, "--pprof", "--data", s.data)
	p.url = "http://" + address
	p.await(t, "it is ready", func() bool { return p.get(t, "/health", nil) == http.StatusOK })
	for _, path := range []string{"/metrics", "/debug/pprof/"} {
		assert.Equal(t, http.StatusNotFound, p.get(t, path, nil), path)
	}
}

func TestABankThatEverybodyMayCallIsRefused(t *testing.T) {
	t.Setenv("BANK_TOKEN", "")
	err := run(t.Context(), []string{"bank", "--addr", "0.0.0.0:0", "--ephemeral"}, streams{io.Discard, io.Discard})
	require.ErrorContains(t, err, "BANK_TOKEN")
	require.ErrorContains(t, err, "--trust-network")
}

// client trusts an authority and looks a name up at an address.
func client(a *certificatetest.Authority, settings func(*tls.Config)) *http.Client {
	c := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: a.Pool(), ServerName: "orders.example.com"}
	if settings != nil {
		settings(c)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}}
}

// TestAHarnessServesHTTPS drives one by everything that calls a harness: customers, commands, and itself.
func TestAHarnessServesHTTPS(t *testing.T) {
	t.Parallel()
	a := certificatetest.New(t)
	cert, key := a.Issue(t, "orders.example.com")
	s := newStack(t)
	address, ops := porttest.Address(t), porttest.Address(t)
	s.environ = append(s.environ, "HARNESS_TLS_CERT_FILE="+cert, "HARNESS_TLS_KEY_FILE="+key)
	p := launch(t, s.environ, "up", "--addr", address, "--ops-addr", ops, "--data", s.data)
	p.stack = s
	get := func(path string, settings func(*tls.Config)) (int, *tls.ConnectionState, error) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+path, nil)
		require.NoError(t, err)
		response, err := client(a, settings).Do(request)
		if err != nil {
			return 0, nil, err
		}
		_, _ = io.Copy(io.Discard, response.Body)
		return response.StatusCode, response.TLS, response.Body.Close()
	}
	p.await(t, "it is ready, the stock that it puts by calling itself too", func() bool {
		status, _, _ := get("/health", nil)
		return status == http.StatusOK
	})

	_, state, err := get("/", nil)
	require.NoError(t, err)
	assert.GreaterOrEqual(t, state.Version, uint16(tls.VersionTLS12))
	_, _, err = get("/", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 })
	require.ErrorContains(t, err, "protocol version")
	_, _, err = get("/", func(c *tls.Config) { c.RootCAs = x509.NewCertPool() })
	require.ErrorContains(t, err, "unknown authority")
	plain, err := http.Get("http://" + address + "/") //nolint:noctx // it answers at once
	require.NoError(t, err)
	assert.Equal(t, http.StatusBadRequest, plain.StatusCode, "HTTP to a port with HTTPS")
	require.NoError(t, plain.Body.Close())

	// Commands know the certificate by the run file, and expect its name; those without a data folder by variables.
	none := stack{data: s.data, environ: append(s.secrets(), "HARNESS_TLS_CERT_FILE=", "HARNESS_TLS_KEY_FILE=")}
	assert.Contains(t, none.operate(t, "", "health"), "UP")
	assert.Contains(t, none.operate(t, "", "bench", "--running", "--orders", "5", "--warmup", "1", "--skus", "1", "--lines", "1"), "5")
	assert.Contains(t, s.operate(t, "", "health", "--addr", address), "UP", "as the health check of a container")
	refused := launch(t, nil, "health", "--addr", address)
	<-refused.ended
	require.Error(t, refused.err, "by HTTP")

	// A renewed certificate, with which the harness still reaches itself.
	renewed, itsKey := a.Issue(t, "orders.example.com")
	for from, to := range map[string]string{renewed: cert, itsKey: key} {
		text, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(to, text, 0o600))
	}
	before := state.PeerCertificates[0].SerialNumber
	p.await(t, "the renewed certificate is served", func() bool {
		_, state, err := get("/", nil)
		return err == nil && state.PeerCertificates[0].SerialNumber.Cmp(before) != 0
	})
	p.awaitLog(t, "certificate replaced")
	assert.Contains(t, none.operate(t, "", "health"), "UP")
	require.NoError(t, os.WriteFile(key, []byte("broken"), 0o600))
	p.await(t, "the broken one is refused", func() bool {
		_, _, err := get("/", nil)
		require.NoError(t, err)
		return strings.Contains(p.log.String(), "the one before stays")
	})
	p.stop(t)
}

func TestFilesOfHTTPSThatAreWrongAreSaid(t *testing.T) {
	a := certificatetest.New(t)
	cert, key := a.Issue(t, "orders.example.com")
	_, another := a.Issue(t, "orders.example.com")
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"no key":             {[]string{"--tls-cert", cert}, "give both"},
		"no certificate":     {[]string{"--tls-key", key}, "give both"},
		"missing":            {[]string{"--tls-cert", "/missing", "--tls-key", key}, "no such file"},
		"the key of another": {[]string{"--tls-cert", cert, "--tls-key", another}, "does not match"},
	} {
		t.Run(name, func(t *testing.T) {
			err := run(t.Context(), append([]string{"up", "--addr", porttest.Address(t), "--ephemeral"}, c.args...), streams{io.Discard, io.Discard})
			assert.ErrorContains(t, err, c.says)
		})
	}
}
