package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions"
	"example.com/orders/functions/internal/function/gateway"
)

// holding returns what the ledger of a gateway says of the only order in it.
func holding(t *testing.T, config map[string]string) gateway.Holding {
	t.Helper()
	ledger, err := gateway.OpenLedger(config)
	require.NoError(t, err)
	page, _, err := ledger.Ledger(t.Context(), "", gateway.MaxPage)
	require.NoError(t, err)
	require.Len(t, page, 1)
	return page[0]
}

func TestTheHarnessRunsABankForAGatewayWithoutAnAddress(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.environ = append(s.environ, "PAYMENT_GATEWAY=http", "HARNESS_OVERLAY=payment", "PAYMENT_GATEWAY_TOKEN=t0ken")
	p := s.up(t)
	paid := p.placeFor(t, 1299)
	p.awaitStatus(t, paid.OrderID, "CONFIRMED")
	run, err := readRun(s.data)
	require.NoError(t, err)
	config := run.variables(true)
	assert.Equal(t, "http", config[gatewayVariable])
	assert.Contains(t, p.log.String(), "payments   a bank of our own, "+config[gatewayURL])
	text, err := os.ReadFile(filepath.Join(s.data, runName))
	require.NoError(t, err)
	assert.NotContains(t, string(text), "t0ken")
	config[gatewayToken] = "t0ken"
	assert.Equal(t, gateway.Holding{OrderID: paid.OrderID, Authorized: 1299, Currency: "EUR"}, holding(t, config))

	p.kill(t)
	p = s.up(t)

	require.Equal(t, http.StatusOK, p.do(t, http.MethodPost, "/api/orders/"+paid.OrderID+"/cancel", nil, "", nil))
	run, err = readRun(s.data)
	require.NoError(t, err)
	config = run.variables(true)
	config[gatewayToken] = "t0ken"
	p.await(t, "the money is returned", func() bool { return holding(t, config).Refunded == 1299 })
	p.stop(t)
	assert.NotContains(t, run.variables(false), gatewayURL, "the bank has ended with the harness")
	p.audit(t)
	options := options{data: s.data, dataNamed: true, logFormat: "text", environ: map[string]string{
		gatewayToken: "t0ken", "MYSQL_DSN": os.Getenv("MYSQL_DSN"), "KAFKA_BROKERS": os.Getenv("KAFKA_BROKERS"),
	}}
	options.environ["MYSQL_SCHEMA_PREFIX"], options.environ["KAFKA_TOPIC_PREFIX"] = run.Variables["MYSQL_SCHEMA_PREFIX"], run.Variables["KAFKA_TOPIC_PREFIX"]
	servers, release, err := reach(t.Context(), options, streams{io.Discard, io.Discard}, needsGateway)
	require.NoError(t, err)
	assert.Equal(t, int64(1299), holding(t, servers.config).Refunded, "a command starts the bank on the same ledger")
	require.NoError(t, release())
}

func TestFunctionsInProcessesOfTheirOwnShareABank(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	p := s.up(t, "--overlay", "payment", "--deployed")
	paid := p.placeFor(t, 1299)
	p.awaitStatus(t, paid.OrderID, "CONFIRMED")
	run, err := readRun(s.data)
	require.NoError(t, err)
	assert.Equal(t, int64(1299), holding(t, run.variables(true)).Authorized)
	p.audit(t)
	p.stop(t)
}

func TestABankIsStartedOnlyForAWiringThatAsksOne(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.environ = append(s.environ, "PAYMENT_GATEWAY=http")
	p := s.up(t)
	assert.NotContains(t, p.log.String(), "payments   ")
	assert.NoFileExists(t, filepath.Join(s.data, ledgerFile))
	p.stop(t)
}

// cashier is a function that asks a gateway.
type cashier struct {
	functions.Function

	gateway gateway.Gateway
}

func (c *cashier) UseGateway(g gateway.Gateway) { c.gateway = g }

func TestTheFunctionsOfAProcessShareAGateway(t *testing.T) {
	h, one, other := &harness{}, &cashier{}, &cashier{}
	require.NoError(t, h.shareGateway(one, nil))
	require.NoError(t, h.shareGateway(other, nil))
	assert.NotNil(t, one.gateway)
	assert.Same(t, one.gateway, other.gateway)
	assert.Error(t, (&harness{}).shareGateway(one, map[string]string{gatewayVariable: "cash"}))
	assert.NoError(t, h.shareGateway(functions.Catalogue["notify"](), nil), "one that asks none is left alone")
}

func TestACommandNeedsTheTokenOfTheGateway(t *testing.T) {
	folder, _ := announced(t, map[string]string{"MYSQL_DSN": "root@tcp(db:3306)/", "KAFKA_BROKERS": "a:9092", gatewayVariable: "http", gatewayURL: "http://bank:8085", gatewayToken: "t0ken"})
	text, err := os.ReadFile(filepath.Join(folder, runName))
	require.NoError(t, err)
	assert.NotContains(t, string(text), "t0ken")
	_, err = locate(options{data: folder, dataNamed: true, environ: map[string]string{}}, needsGateway)
	assert.ErrorContains(t, err, "set PAYMENT_GATEWAY_TOKEN to it")
	assert.ErrorContains(t, err, "the harness on "+folder)
	d, err := locate(options{data: folder, dataNamed: true, environ: map[string]string{gatewayToken: "t0ken"}}, needsGateway)
	require.NoError(t, err)
	assert.Equal(t, "http://bank:8085", d.config[gatewayURL])
	_, err = locate(options{data: folder, dataNamed: true, environ: map[string]string{gatewayURL: "http://other:8085", gatewayToken: "t0ken"}}, needsGateway)
	assert.ErrorContains(t, err, `PAYMENT_GATEWAY_URL is "http://other:8085" here`)
}
