package main

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/porttest"
)

func TestAHarnessWorksInAnOddEnvironment(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	temporary := filepath.Join(s.data, "temporary files @ here")
	require.NoError(t, os.Mkdir(temporary, 0o700))
	nowhere := "http://" + porttest.Address(t)
	s.environ = append(s.environ, "HTTP_PROXY="+nowhere, "http_proxy="+nowhere, "ALL_PROXY="+nowhere, "NO_PROXY=example.com",
		"TMPDIR="+temporary, "TZ=Asia/Tokyo", "LANG=tr_TR.UTF-8", "LC_ALL=C", "GOGC=off")
	address := porttest.Address(t)
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)

	p := launch(t, s.environ, "up", "--addr", "0.0.0.0:"+port, "--trust-network", "--data", filepath.Join(s.data, "a@b:c"))
	p.stack, p.url = stack{filepath.Join(s.data, "a@b:c"), s.environ}, "http://"+address
	p.await(t, "it is ready", func() bool { return p.get(t, "/health", nil) == http.StatusOK })

	o := p.place(t, "SKU-123", 2)
	p.awaitStatus(t, o.OrderID, "CONFIRMED")
	assert.Contains(t, p.stack.operate(t, "", "health"), "UP")
	p.audit(t)
	p.stop(t)
}

// TestTheHarnessIsCalledPastTheProxy checks the client itself, since loopback addresses bypass a proxy anyway.
func TestTheHarnessIsCalledPastTheProxy(t *testing.T) {
	transport, ok := toHarness().Transport.(*http.Transport)
	require.True(t, ok)
	assert.Nil(t, transport.Proxy)
}

func TestVariablesThatAreNeitherTrueNorFalseAreRefused(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"HARNESS_EPHEMERAL", "HARNESS_SAMPLE_STOCK", "HARNESS_TRUST_NETWORK"} {
		p := launch(t, []string{name + "=no"}, "up", "--data", t.TempDir())
		<-p.ended
		require.Error(t, p.err)
		assert.Contains(t, p.log.String(), name+" is \"no\": give true or false")
	}
}
