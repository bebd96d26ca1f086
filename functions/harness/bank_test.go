package main

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/functions/internal/operate/bank"
	"example.com/orders/functions/internal/testkit/gatewaytest"
	"example.com/orders/functions/internal/testkit/porttest"
)

// openBank returns the gateway and the ledger of a bank that runs, as functions and the audit open them.
func openBank(t *testing.T, address string) (gateway.Gateway, gateway.Ledger) {
	t.Helper()
	config := map[string]string{"PAYMENT_GATEWAY": "http", "PAYMENT_GATEWAY_URL": "http://" + address, "PAYMENT_GATEWAY_TOKEN": "s3cret"}
	g, err := gateway.Open(config)
	require.NoError(t, err)
	ledger, err := gateway.OpenLedger(config)
	require.NoError(t, err)
	return g, ledger
}

// launchBank starts a bank, and waits until its health check passes.
func launchBank(t *testing.T, address string, args ...string) *process {
	t.Helper()
	p := launch(t, []string{"BANK_TOKEN=s3cret", "BANK_ADDR=" + address}, append([]string{"bank"}, args...)...)
	p.await(t, "the bank is healthy", func() bool {
		var out bytes.Buffer
		return run(t.Context(), []string{"health", "--addr", address}, streams{&out, &out}) == nil
	})
	return p
}

func TestABankKeepsItsLedgerInTheDataFolder(t *testing.T) {
	t.Parallel()
	address, data := porttest.Address(t), t.TempDir()
	a := gatewaytest.Authorization(1299)
	for range 2 {
		p := launchBank(t, address, "--data", data)
		p.await(t, "the bank says how to use it", func() bool {
			return strings.Contains(p.log.String(), "export PAYMENT_GATEWAY=http PAYMENT_GATEWAY_URL=http://"+address)
		})
		g, ledger := openBank(t, address)
		answer, err := g.Authorize(t.Context(), a)
		require.NoError(t, err)
		assert.Equal(t, gateway.Authorized, answer.Status)
		assert.Equal(t, &gateway.Holding{OrderID: a.OrderID, Authorized: 1299, Currency: "EUR"}, gatewaytest.Held(t, ledger, a.OrderID))
		p.stop(t)
	}
	assert.FileExists(t, filepath.Join(data, "bank", "ledger.jsonl"))
}

func TestABankActsOutItsScenarioAndForgetsWhatIsEphemeral(t *testing.T) {
	t.Parallel()
	address, data := porttest.Address(t), t.TempDir()
	for range 2 {
		p := launchBank(t, address, "--ephemeral", "--simulate", "decline=1", "--data", data)
		g, _ := openBank(t, address)
		a := gatewaytest.Authorization(1299)
		_, err := g.Lookup(t.Context(), "a.authorize")
		require.ErrorIs(t, err, gateway.ErrUnknownKey)
		_, err = g.Refund(t.Context(), gateway.Refund{Key: "a.refund", AuthorizationKey: "a.authorize", Amount: 1299, Currency: "EUR"})
		require.NoError(t, err)
		answer, err := g.Authorize(t.Context(), a)
		require.NoError(t, err)
		assert.Equal(t, gateway.Declined, answer.Status)
		p.stop(t)
		folder := regexp.MustCompile(`ledger +(\S+)`).FindStringSubmatch(p.log.String())
		require.NotNil(t, folder)
		assert.NoDirExists(t, filepath.Dir(folder[1]))
	}
	assert.NoDirExists(t, filepath.Join(data, "bank"))
}

func TestABankSaysWhyItDoesNotStart(t *testing.T) {
	t.Parallel()
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", porttest.Address(t))
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	for line, says := range map[string]string{
		"--simulate decline=2":            "--simulate: the rate of decline",
		"--hosts http://bank":             "--hosts: ",
		"--addr 8085":                     "give host:port",
		"--addr " + taken.Addr().String(): "give another address with --addr",
	} {
		var out bytes.Buffer
		err := run(t.Context(), append([]string{"bank", "--data", t.TempDir()}, strings.Fields(line)...), streams{&out, &out})
		assert.ErrorContains(t, err, says, line)
	}
}

func TestABankAnswersToItsHostsOnly(t *testing.T) {
	t.Parallel()
	address := porttest.Address(t)
	p := launchBank(t, address, "--ephemeral", "--hosts", "bank")
	for host, want := range map[string]int{"bank:8085": 200, "localhost": 200, "evil.example": 421} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/health", nil)
		require.NoError(t, err)
		request.Host = host
		response, err := toHarness().Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, want, response.StatusCode, host)
	}
	p.stop(t)
}

func TestTheHelpOfBankAndTheREADMEListTheSameAmountsThatForceAnOutcome(t *testing.T) {
	readme := readFile(t, "README.md")
	listed := regexp.MustCompile(`(?m)^  (\d\d)  (.+)$`).FindAllStringSubmatch(bankHelp, -1)
	require.Len(t, listed, 6)
	for _, parts := range listed {
		assert.Contains(t, readme, "| "+parts[1]+" | "+parts[2]+" |")
	}
}

func TestComposeStartsABankThatTheHarnessReaches(t *testing.T) {
	for name, env := range settings {
		t.Run(name, func(t *testing.T) {
			c := composed(t, env)
			b, h := c.Services["bank"], c.Services["harness"]
			assert.Equal(t, []string{"payment"}, b.Profiles)
			assert.Equal(t, []string{"bank"}, b.Command)
			host, port, err := net.SplitHostPort(b.value(t, "BANK_ADDR"))
			require.NoError(t, err)
			assert.Equal(t, "0.0.0.0", host)
			assert.NotEmpty(t, b.published(t, port))
			assert.Equal(t, []string{"CMD", "/harness", "health", "--addr", "127.0.0.1:" + port}, b.Healthcheck.Test)
			assert.Contains(t, b.Volumes, "bank-data:"+filepath.Dir(b.value(t, "BANK_LEDGER")))
			assert.Equal(t, h.value(t, "PAYMENT_GATEWAY_TOKEN"), b.value(t, "BANK_TOKEN"))
			if env["PAYMENT_GATEWAY_URL"] == "" {
				assert.Equal(t, "http://"+b.value(t, "BANK_HOSTS")+":"+port, h.value(t, "PAYMENT_GATEWAY_URL"))
			}
			config := map[string]string{}
			for variable := range h.Environment {
				if text := h.value(t, variable); text != "null" { // unset
					config[variable] = text
				}
			}
			_, err = gateway.Open(config)
			assert.NoError(t, err)
			var help bytes.Buffer
			require.NoError(t, run(context.Background(), []string{"bank", "--help"}, streams{&help, &help}))
			for variable := range b.Environment {
				assert.Contains(t, help.String(), variable)
			}
		})
	}
}

func TestTheContractIsDescribedWithAnExampleOfEachRequest(t *testing.T) {
	assert.Contains(t, string(bank.Description()), `"example":{"amount":2598,"currency":"EUR","orderId"`)
}
