package functions_test

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions"
	"example.com/orders/functions/internal/function/host"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/schema"
)

// serveAll serves every function of the catalogue with func's runtime, and returns their addresses.
func serveAll(t testing.TB) map[string]string {
	t.Helper()
	config := mysqltest.Config(mysqltest.Server(t))
	maps.Copy(config, map[string]string{"MYSQL_MAX_CONNS": "2", "OUTBOX_SCHEMA": schema.Orders, "KAFKA_SINK_URL": "http://127.0.0.1:1/{topic}"})
	addresses := map[string]string{}
	for name, construct := range functions.Catalogue {
		f := construct()
		f.Shared().Log = slog.New(slog.DiscardHandler)
		require.NoError(t, f.Start(t.Context(), config))
		t.Cleanup(func() { assert.NoError(t, f.Stop(t.Context())) })
		handler, err := host.Handler(f)
		require.NoError(t, err)
		server := httptest.NewUnstartedServer(handler)
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.Start()
		t.Cleanup(server.Close)
		addresses[name] = server.Listener.Addr().String()
	}
	return addresses
}

// raw sends bytes, closes the sending side, and reads the answer until the server closes the connection.
func raw(t testing.TB, address string, request []byte) []byte {
	t.Helper()
	connection, err := net.DialTimeout("tcp", address, time.Minute)
	require.NoError(t, err, "the process is alive")
	defer func() { _ = connection.Close() }()
	require.NoError(t, connection.SetDeadline(time.Now().Add(time.Minute)))
	// Both fail if the server refuses the request before reading all of it.
	_, _ = connection.Write(request)
	_ = connection.(*net.TCPConn).CloseWrite()
	answer, _ := io.ReadAll(connection)
	return answer
}

// request formats a POST with headers and a body.
func request(body string, headers ...string) string {
	return "POST / HTTP/1.1\r\nHost: f\r\n" + strings.Join(headers, "\r\n") + fmt.Sprintf("\r\nContent-Length: %d\r\n\r\n", len(body)) + body
}

// requests returns requests that may confuse a reader.
func requests() []string {
	event := []string{"ce-specversion: 1.0", "ce-id: 1", "ce-type: order.created", "ce-source: /orders", "Content-Type: application/json"}
	binary := func(body string, more ...string) string { return request(body, append(event, more...)...) }
	structured := func(body string) string { return request(body, "Content-Type: application/cloudevents+json") }
	of := func(eventType, body string) string {
		return strings.Replace(binary(body), "order.created", eventType, 1)
	}
	const order = `{"customerEmail":"alice@example.com","items":[{"sku":"SKU-123","quantity":2,"unitPrice":1299}]}`
	return []string{
		binary("{}", "ce-: x"), binary("{}", "CE-: "), request("{}", "ce-: x", "Content-Type: application/cloudevents+json"),
		binary("{}", "ce-id: 2"), binary("{}", "ce-time: noon", "ce-x_y: z"), binary("{}", "ce-a: %ff", "ce-b: %", `ce-c: "\"`),
		binary("{}", "ce-dataschema: :", "ce-subject:"), binary("{}", "ce-traceparent: 00-"), binary(""), binary("null"),
		structured(`{"specversion":"1.0","data_base64":1}`), structured(`{"data_base64":1,"specversion":"1.0"}`), structured(`{"data_base64":"`),
		structured(`{"specversion":"0.3","datacontentencoding":"","data":1}`), structured(`{"specversion":"0.3","datacontentencoding":null,"data":1}`),
		structured(`{"specversion":"1.0","id":"1","source":"/","type":"t","data":` + strings.Repeat("[", 20000)), structured("[]"), structured(""),
		structured(`{"specversion":"1.0","id":"1","source":"/orders","type":"order.confirmed","time":1,"data":{}}`),
		request("[]", "Content-Type: application/cloudevents-batch+json"), request("{}", "Content-Type: ;"), request("{}"),
		of("order.create", order), of("order.confirmed", order), of("order.cancel", `{"orderId":"`+functiontest.OrderID()+`"}`),
		of("outbox.poke", `{"shards":[0,1]}`), of("outbox.poke", `{"shards":[-1,99]}`), of("dev.knative.sources.ping", `{"purge":true}`), of("dev.knative.sources.ping", ""),
		strings.Replace(request(order, "Content-Type: application/json"), " / ", " /api/orders ", 1),
		strings.Replace(request(`{"availableQty":5}`, "Content-Type: application/json"), "POST / ", "PUT /api/inventory/A ", 1),
		strings.Replace(binary("{}"), "Content-Length: 2", "Content-Length: 314572800", 1), strings.Replace(binary("{}"), "Content-Length: 2", "Content-Length: 9", 1),
		strings.Replace(binary("2\r\n{}\r\n0\r\n\r\n"), "Content-Length: 12", "Transfer-Encoding: chunked", 1),
		strings.Replace(binary("zz\r\n{}"), "Content-Length: 6", "Transfer-Encoding: chunked", 1),
		binary("{}", "Expect: 100-continue"), binary("{}", "Expect: more"), binary("{}", "Connection: Upgrade", "Upgrade: websocket"),
		binary("{}", "Trailer: ce-id"), binary("{}", "ce-long: "+strings.Repeat("x", 2<<20)), binary("{}") + binary("{}", "ce-: x"),
		strings.Replace(binary("{}"), "HTTP/1.1", "HTTP/1.0", 1), strings.Replace(binary("{}"), "POST /", "CONNECT f:1", 1),
		strings.Replace(binary("{}"), "POST / ", "OPTIONS * ", 1), strings.Replace(binary("{}"), "POST / ", "POST http://f/%zz ", 1),
		strings.Replace(binary("{}"), "POST", "G\x00T", 1), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01", "\r\n\r\n", "",
	}
}

// mutated returns a request with some bytes changed, removed or duplicated.
func mutated(r *rand.Rand, request []byte) []byte {
	request = bytes.Clone(request)
	for range 1 + r.IntN(3) {
		if len(request) == 0 {
			break
		}
		at := r.IntN(min(len(request), 400)) // near the start of a long one
		switch end := min(len(request), at+1+r.IntN(8)); r.IntN(3) {
		case 0:
			request[at] = byte(r.IntN(256))
		case 1:
			request = append(request[:at:at], request[end:]...)
		default:
			request = append(request[:end:end], request[at:]...)
		}
	}
	return request
}

// Whatever bytes a client sends, the process survives and answers the next request.
func FuzzRequestsEndNoFunction(f *testing.F) {
	addresses := serveAll(f)
	r := rand.New(rand.NewPCG(1, 2))
	for _, each := range requests() {
		f.Add([]byte(each))
		for range 5 {
			f.Add(mutated(r, []byte(each)))
		}
	}
	f.Fuzz(func(t *testing.T, request []byte) {
		for name, address := range addresses {
			raw(t, address, request)
			response, err := http.Get("http://" + address + "/health/liveness") //nolint:noctx // the test ends with it
			if assert.NoError(t, err, name) {
				assert.Equal(t, http.StatusOK, response.StatusCode, name)
				assert.NoError(t, response.Body.Close())
			}
		}
	})
}

func TestEveryEventFunctionRefusesNonEvents(t *testing.T) {
	addresses := serveAll(t)
	nameless := request("{}", "ce-: x", "ce-specversion: 1.0", "ce-id: 1", "ce-type: a", "ce-source: /x")
	for name, f := range functions.Catalogue {
		takes := name == "createorder"
		if _, err := host.Deliver(f()); err == nil {
			takes = true
		}
		if !takes {
			continue
		}
		for want, sent := range map[string]string{
			"400 Bad Request":              nameless,
			"413 Request Entity Too Large": strings.Replace(request("", "ce-specversion: 1.0", "Content-Length: 314572800"), "\r\nContent-Length: 0", "", 1),
			"415 Unsupported Media Type":   request("[]", "Content-Type: application/cloudevents-batch+json"),
			"405 Method Not Allowed":       "GET / HTTP/1.1\r\nHost: f\r\n\r\n",
		} {
			answer := string(raw(t, addresses[name], []byte(sent)))
			assert.Contains(t, answer, "HTTP/1.1 "+want, name)
		}
	}
}
