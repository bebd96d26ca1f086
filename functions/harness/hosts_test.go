package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"example.com/orders/knative"
)

func TestHarnessAnswersToLoopbackNamesAndAddresses(t *testing.T) {
	for _, header := range []string{
		"localhost", "localhost:8080", "LOCALHOST", "localhost.", "localhost.:8080", "localhost:", "console.localhost", "a.b.localhost.:1",
		"127.0.0.1", "127.0.0.1:8080", "127.1.2.3:80", "127.0.0.1.", "[::1]", "[::1]:8080", "[0:0:0:0:0:0:0:1]:8080",
		"[::ffff:127.0.0.1]:8080", "[::FFFF:7f00:1]",
	} {
		assert.True(t, hosts{}.answersTo(header), header)
	}
	for _, header := range []string{
		"", "evil.example", "evil.example:8080", "localhost.evil.example", "evil-localhost", "xlocalhost", "notlocalhost:8080", ".localhost.evil.example",
		"127.0.0.1.evil.example", "127.0.0.1:8080.evil.example", "localhost:80@evil.example", "evil.example#localhost", "user@localhost",
		"0.0.0.0", "0.0.0.0:8080", "[::]", "10.0.0.1", "192.168.1.5:8080", "169.254.169.254", "[fe80::1]", "[::ffff:10.0.0.1]", "[fd00::1]:8080",
		"localhost..", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.01", "localhost:port", "[::1", "::1", "localhost, evil.example", "localhost\x00",
		"[::1%25lo]", "ⓛocalhost", "xn--ocalhost",
	} {
		assert.False(t, hosts{}.answersTo(header), "%q", header)
	}
}

func TestHarnessAnswersToTheHostsThatItIsGiven(t *testing.T) {
	h, err := readHosts(" Shop.Example.com, harness,,10.0.0.5,fd00::0:5,[fd00::6], under_score ")
	require.NoError(t, err)
	for _, header := range []string{"shop.example.com", "SHOP.example.com.:8443", "harness:8080", "10.0.0.5:1", "[fd00::5]:8080", "[fd00:0::6]", "under_score", "localhost"} {
		assert.True(t, h.answersTo(header), header)
	}
	for _, header := range []string{"example.com", "a.shop.example.com", "10.0.0.6", "[fd00::7]", "harness.evil.example"} {
		assert.False(t, h.answersTo(header), header)
	}
	for _, list := range []string{"http://shop.example.com", "shop.example.com:8080", "[fd00::1]:80", "a b", "*", "*.example.com", "müller.de", "shop.example.com/"} {
		_, err := readHosts(list)
		assert.ErrorContains(t, err, "without scheme and port", list)
	}
}

func TestHarnessAnswersToTheAddressThatItListensOn(t *testing.T) {
	for listen, headers := range map[string][]string{
		"shop.example.com:80": {"shop.example.com", "10.0.0.5:80"}, "10.0.0.5:80": {"10.0.0.5:80"}, "[fd00::5]:80": {"[fd00::5]"},
	} {
		h := hosts{}.with(listen, "10.0.0.5:80")
		for _, header := range headers {
			assert.True(t, h.answersTo(header), "%s on %s", header, listen)
		}
		assert.False(t, h.answersTo("evil.example"))
	}
	for _, listen := range []string{":8080", "0.0.0.0:8080", "[::]:8080"} {
		assert.Empty(t, hosts{}.with(listen))
	}
}

// raw sends the text of a request and returns the status, the media type and, for a refusal, the body of the answer.
func (p *process) raw(t *testing.T, text string) (status int, media, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	require.NoError(t, err)
	defer func() { assert.NoError(t, conn.Close()) }()
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute))) // a stream would not end
	_, err = io.WriteString(conn, text)
	require.NoError(t, err)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err, text)
	defer func() { _ = response.Body.Close() }() // the connection is closed
	if response.StatusCode != http.StatusOK {
		read, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		body = string(read)
	}
	return response.StatusCode, response.Header.Get("Content-Type"), body
}

// TestAnotherHostIsRefusedOnEveryRoute requests every route under a foreign host name.
func TestAnotherHostIsRefusedOnEveryRoute(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	p := s.up(t, "--pprof", "--hosts", "shop.example.com")
	o := p.place(t, "SKU-123", 1)
	routes := []string{
		"GET /", "GET /orders", "GET /docs", "GET /openapi.json", "GET /console/static/app.js", "GET /console/topology",
		"GET /console/events?view=orders", "POST /console/deadletters", "GET /console/deadletters/order.created.dlq/0/0",
		"POST /console/outbox", "GET /console/outbox/orders/1", "GET /api/orders", "POST /api/orders", "GET /api/orders/" + o.OrderID,
		"POST /api/orders/" + o.OrderID + "/cancel", "GET /api/inventory", "PUT /api/inventory/SKU-123", "GET /health", "GET /health/live",
		"GET /health/ready", "GET /info", "GET /metrics", "GET /debug/pprof/", "GET /debug/pprof/heap", "GET /nothing", "OPTIONS *", "PRI *",
	}
	wiring, err := knative.Load(knative.Base())
	require.NoError(t, err)
	for _, service := range wiring.Services {
		routes = append(routes, "POST /functions/"+service.Name, "GET /functions/"+service.Name+"/health/readiness")
	}
	const rest = "Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
	for _, route := range routes {
		_, target, _ := strings.Cut(route, " ")
		for name, text := range map[string]string{
			"a Host":             route + " HTTP/1.1\r\nHost: evil.example:8080\r\n",
			"an Origin with it":  route + " HTTP/1.1\r\nHost: evil.example:8080\r\nOrigin: http://evil.example:8080\r\nSec-Fetch-Site: same-origin\r\n",
			"no Host":            route + " HTTP/1.0\r\n",
			"the request target": strings.Replace(route, target, "http://evil.example"+strings.TrimPrefix(target, "*"), 1) + " HTTP/1.1\r\nHost: localhost\r\n",
		} {
			status, media, body := p.raw(t, text+rest)
			if assert.Equal(t, http.StatusMisdirectedRequest, status, "%s by %s", route, name) {
				assert.Equal(t, "application/problem+json", media)
				assert.Contains(t, body, "HARNESS_HOSTS")
			}
		}
	}
	p.awaitStatus(t, o.OrderID, "CONFIRMED") // it was not canceled

	for _, host := range []string{"shop.example.com", "SHOP.EXAMPLE.COM.:80", "localhost", "[::1]:1"} {
		status, _, _ := p.raw(t, "GET /api/orders/"+o.OrderID+" HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
		assert.Equal(t, http.StatusOK, status, host)
	}
	status, _, _ := p.raw(t, "GET http://localhost/health/live HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
	assert.Equal(t, http.StatusOK, status, "an absolute target takes precedence (RFC 9112)")
}

// TestHarnessThatListensOnAllAddressesReachesItself starts one as in its image.
func TestHarnessThatListensOnAllAddressesReachesItself(t *testing.T) {
	t.Parallel()
	p := newStack(t).up(t)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(p.url, "http://"))
	require.NoError(t, err)
	p.stop(t)

	q := launch(t, p.stack.environ, "up", "--addr", "0.0.0.0:"+port, "--trust-network", "--data", p.stack.data)
	q.stack, q.url = p.stack, p.url
	q.await(t, "it is ready, the sample stock too", func() bool { return q.get(t, "/health", nil) == http.StatusOK })

	assert.Contains(t, q.log.String(), "http://127.0.0.1:"+port+"/")
}

func TestComposeSetsTheHostsOfTheHarness(t *testing.T) {
	var prometheus struct {
		ScrapeConfigs []struct {
			StaticConfigs []struct{ Targets []string } `json:"static_configs"`
		} `json:"scrape_configs"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(readFile(t, "functions/harness/observability/prometheus.yml")), &prometheus))
	require.NotEmpty(t, prometheus.ScrapeConfigs)
	for name, env := range settings {
		h, err := readHosts(composed(t, env).Services["harness"].value(t, "HARNESS_HOSTS"))
		require.NoError(t, err, name)
		for _, scrape := range prometheus.ScrapeConfigs {
			for _, static := range scrape.StaticConfigs {
				for _, target := range static.Targets {
					assert.True(t, h.answersTo(target), "Prometheus asks %s", target)
				}
			}
		}
		for _, more := range strings.Split(env["HARNESS_HOSTS"], ",") {
			assert.True(t, more == "" || h.answersTo(more), more)
		}
		assert.False(t, h.answersTo("evil.example"))
	}
}
