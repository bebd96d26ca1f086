package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/functions/internal/testkit/gatewaytest"
	"example.com/orders/functions/internal/testkit/porttest"
)

// served returns a client of a server.
func served(t *testing.T, handler http.HandlerFunc) *gateway.HTTP {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return gateway.NewHTTP(server.URL, "s3cret", 4)
}

// says returns a handler with one answer.
func says(status int, media, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", media)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

const problem = `{"type":"about:blank","title":"No","status":400,"detail":"because of this"}`

func TestOnlyAnAnswerOfTheGatewayIsTakenForOne(t *testing.T) {
	const held = `{"status":"authorized","reference":"r","amount":1299,"currency":"EUR"}`
	const (
		unknown  = "unknown"
		refused  = "refused"
		notAsked = "not asked"
	)
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		outcome string
		says    string
	}{
		"a connection that breaks":          {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, unknown, "EOF"},
		"a body that breaks off":            {breaksOff, unknown, "read the payment gateway's answer 200"},
		"a failure":                         {says(500, "application/problem+json", problem), unknown, "because of this"},
		"a failure behind a proxy":          {says(502, "text/html", "<h1>Bad\x1b[2J Gateway</h1>"), unknown, "502 (text/html)"},
		"a page":                            {says(200, "text/html", "<html>Welcome</html>"), unknown, "Welcome"},
		"a page that says that it is JSON":  {says(200, "application/json", "<html>Welcome</html>"), unknown, "invalid character"},
		"an empty answer":                   {says(200, "application/json", ""), unknown, "unexpected end"},
		"an answer of another kind":         {says(200, "application/json", `{"status":"refunded","reference":"r","amount":1299,"currency":"EUR"}`), unknown, `"refunded"`},
		"a status that nobody knows":        {says(200, "application/json", `{"status":"pending","amount":0,"currency":"EUR"}`), unknown, `"pending"`},
		"another amount":                    {says(200, "application/json", `{"status":"authorized","reference":"r","amount":12,"currency":"EUR"}`), unknown, "amount 12"},
		"another currency":                  {says(200, "application/json", `{"status":"authorized","reference":"r","amount":1299,"currency":"USD"}`), unknown, "USD"},
		"no reference":                      {says(200, "application/json", `{"status":"authorized","amount":1299,"currency":"EUR"}`), unknown, "reference"},
		"a huge answer":                     {says(200, "application/json", held+strings.Repeat(" ", 1<<20)), unknown, "larger than"},
		"a huge failure":                    {says(500, "text/plain", strings.Repeat("a", 1<<20)), unknown, "larger than"},
		"a status of success without money": {says(202, "application/json", held), unknown, "202"},
		"a redirect":                        {redirects, unknown, "307"},
		"a time-out of the gateway":         {says(408, "application/problem+json", problem), unknown, "408"},
		"a missing page":                    {says(404, "text/html", "nothing here"), unknown, "404"},
		"too many requests":                 {says(429, "text/plain", "slow down"), notAsked, "slow down"},
		"a gateway that is busy":            {says(503, "application/problem+json", problem), notAsked, "because of this"},
		"a proxy without its gateway":       {says(503, "text/html", "no upstream"), unknown, "no upstream"},
		"a refused login":                   {says(401, "application/problem+json", problem), refused, "401: because of this"},
		"a key with another body":           {says(409, "application/problem+json", problem), refused, "409: because of this"},
		"a refused body":                    {says(400, "text/plain", "no"), refused, "400"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := served(t, test.handler).Authorize(t.Context(), gatewaytest.Authorization(1299))
			require.ErrorContains(t, err, test.says)
			_, isRefusal := errors.AsType[*gateway.Refusal](err)
			assert.Equal(t, test.outcome == refused, isRefusal)
			assert.Equal(t, test.outcome == notAsked, gateway.IsNotAsked(err))
			assert.NotContains(t, err.Error(), "s3cret")
			assert.NotContains(t, err.Error(), "\x1b")
			assert.Less(t, len(err.Error()), 500)
		})
	}
}

// breaksOff promises more than it sends.
func breaksOff(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", "1000")
	_, _ = io.WriteString(w, `{"status":`)
}

// redirects leads to an answer that must not be taken.
func redirects(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/elsewhere" {
		says(200, "application/json", `{"status":"authorized","reference":"r","amount":1299,"currency":"EUR"}`)(w, r)
		return
	}
	http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
}

func TestAGatewayThatIsNotThereWasNotAsked(t *testing.T) {
	t.Parallel()
	for name, base := range map[string]string{
		"nobody listens":        "http://" + porttest.Address(t),
		"the name is not known": "http://gateway.invalid",
	} {
		for kind, call := range kinds {
			err := call(t.Context(), gateway.NewHTTP(base, "", 4))
			assert.True(t, gateway.IsNotAsked(err), "%s, %s: %v", name, kind, err)
		}
	}
}

func TestValuesOutOfBoundsAreNotSentAndSayNothingAboutTheGateway(t *testing.T) {
	t.Parallel()
	g := gateway.Guard(served(t, says(200, "application/json", `{"status":"authorized","reference":"r","amount":1299,"currency":"EUR"}`)), gateway.Options{Failures: 2})
	for range 5 {
		bad := gatewaytest.Authorization(1299)
		bad.Key = "a/b"
		_, err := g.Authorize(t.Context(), bad)
		require.True(t, gateway.IsNotAsked(err))
		require.ErrorContains(t, err, "outside of the bounds")
	}
	_, err := g.Authorize(t.Context(), gatewaytest.Authorization(1299))
	require.NoError(t, err)
}

func TestACallThatIsGivenUpAfterItWasSentHasAnUnknownOutcome(t *testing.T) {
	t.Parallel()
	for kind, call := range kinds {
		arrived, end := make(chan struct{}), make(chan struct{})
		g := served(t, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body)
			close(arrived)
			<-end
		})
		ctx, giveUp := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- call(ctx, g) }()
		<-arrived
		giveUp()
		err := <-ended
		assert.ErrorIs(t, err, context.Canceled, kind)
		assert.False(t, gateway.IsNotAsked(err), kind)
		close(end)
	}
}

func TestRequestsAreAsTheContractHasThem(t *testing.T) {
	t.Parallel()
	var got []string
	g := served(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, fmt.Sprint(r.Method, " ", r.URL, " ", r.Header.Get("Authorization"), " ", r.Header.Get("Content-Type"), " ", string(body)))
		says(404, "application/problem+json", problem)(w, r)
	})
	_, err := g.Authorize(t.Context(), gateway.Authorization{Key: "a.authorize", OrderID: "a", Amount: 1299, Currency: "EUR"})
	require.Error(t, err)
	_, err = g.Refund(t.Context(), gateway.Refund{Key: "a.refund", AuthorizationKey: "a.authorize", Reference: "r", Amount: 1299, Currency: "EUR"})
	require.Error(t, err)
	for _, key := range []string{"a.authorize", "a.refund"} {
		_, err = g.Lookup(t.Context(), key)
		require.ErrorIs(t, err, gateway.ErrUnknownKey)
	}
	_, _, err = g.Ledger(t.Context(), "a:b", 10)
	require.Error(t, err)
	assert.Equal(t, []string{
		`PUT /authorizations/a.authorize Bearer s3cret application/json {"amount":1299,"currency":"EUR","orderId":"a"}`,
		`PUT /refunds/a.refund Bearer s3cret application/json {"amount":1299,"authorization":"a.authorize","currency":"EUR"}`,
		"GET /authorizations/a.authorize Bearer s3cret  ",
		"GET /refunds/a.refund Bearer s3cret  ",
		"GET /ledger?after=a%3Ab&limit=10 Bearer s3cret  ",
	}, got)
}

func TestAReasonThatEventsMayNotCarryIsReplaced(t *testing.T) {
	t.Parallel()
	for reason, want := range map[string]string{"expired_card": "expired_card", "Do Not Honor!": "declined", "": "declined", strings.Repeat("a", 65): "declined"} {
		g := served(t, says(200, "application/json", fmt.Sprintf(`{"status":"declined","amount":0,"currency":"EUR","reason":%q}`, reason)))
		answer, err := g.Authorize(t.Context(), gatewaytest.Authorization(1299))
		require.NoError(t, err)
		assert.Equal(t, gateway.Answer{Status: gateway.Declined, Currency: "EUR", Reason: want}, answer)
	}
}

func TestALedgerThatDoesNotGoOnIsRefused(t *testing.T) {
	t.Parallel()
	row := func(id string) string {
		return fmt.Sprintf(`{"orderId":%q,"authorized":1,"refunded":0,"currency":"EUR"}`, id)
	}
	for name, test := range map[string]struct{ page, says string }{
		"an earlier order":     {`{"orders":[` + row("a") + `]}`, "order of the ids"},
		"an order twice":       {`{"orders":[` + row("c") + `,` + row("c") + `]}`, "order of the ids"},
		"an earlier cursor":    {`{"orders":[` + row("c") + `],"next":"b"}`, `goes on after "b"`},
		"a cursor for nothing": {`{"orders":[],"next":"b"}`, `goes on after "b"`},
		"an amount below 0":    {`{"orders":[{"orderId":"c","authorized":1,"refunded":-1,"currency":"EUR"}]}`, "out of bounds"},
		"a page":               {`<html>`, "invalid character"},
	} {
		_, _, err := served(t, says(200, "application/json", test.page)).Ledger(t.Context(), "b", 10)
		assert.ErrorContains(t, err, test.says, name)
	}
}

func TestSettingsAreReadAndRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		config map[string]string
		says   string
	}{
		"another gateway":     {map[string]string{"PAYMENT_GATEWAY": "paypal"}, "give simulated or http"},
		"no address":          {map[string]string{"PAYMENT_GATEWAY": "http"}, "PAYMENT_GATEWAY_URL: give"},
		"no scheme":           {map[string]string{"PAYMENT_GATEWAY": "http", "PAYMENT_GATEWAY_URL": "bank:8085"}, "PAYMENT_GATEWAY_URL: give"},
		"a login":             {map[string]string{"PAYMENT_GATEWAY": "http", "PAYMENT_GATEWAY_URL": "http://a:s3cret@bank"}, "PAYMENT_GATEWAY_TOKEN"},
		"a token of lines":    {map[string]string{"PAYMENT_GATEWAY": "http", "PAYMENT_GATEWAY_URL": "http://bank", "PAYMENT_GATEWAY_TOKEN": "s3cret\n"}, "printable"},
		"no time-out":         {map[string]string{"PAYMENT_GATEWAY_TIMEOUT": "0s"}, "give a time"},
		"a time-out too long": {map[string]string{"PAYMENT_GATEWAY_TIMEOUT": "1h"}, "give a time"},
		"no calls":            {map[string]string{"PAYMENT_GATEWAY_CALLS": "0"}, "give a number"},
		"a scenario":          {map[string]string{"PAYMENT_SIMULATION": "decline=2"}, "PAYMENT_SIMULATION: the rate of decline"},
	} {
		_, err := gateway.Open(test.config)
		require.ErrorContains(t, err, test.says, name)
		assert.NotContains(t, err.Error(), "s3cret", name)
	}
	_, err := gateway.OpenLedger(nil)
	assert.ErrorIs(t, err, gateway.ErrNoLedger)
	_, err = gateway.OpenLedger(map[string]string{"PAYMENT_GATEWAY": "http", "PAYMENT_GATEWAY_URL": "http://bank"})
	assert.NoError(t, err)
}

func TestTheFunctionsOfAProcessSimulateOneGateway(t *testing.T) {
	t.Parallel()
	authorizes, err := gateway.Open(nil)
	require.NoError(t, err)
	refunds, err := gateway.Open(map[string]string{"PAYMENT_GATEWAY": "simulated"})
	require.NoError(t, err)
	a := gatewaytest.Authorization(1299)
	_, err = authorizes.Authorize(t.Context(), a)
	require.NoError(t, err)
	answer, err := refunds.Refund(t.Context(), gatewaytest.RefundOf(a, ""))
	require.NoError(t, err)
	assert.Equal(t, gateway.Refunded, answer.Status, "it knows the authorization without its reference")
}

func TestTheTimeOutOfTheSettingsBoundsACall(t *testing.T) {
	t.Parallel()
	g, err := gateway.Open(map[string]string{"PAYMENT_GATEWAY_TIMEOUT": "10ms"})
	require.NoError(t, err)
	start := time.Now()
	_, err = g.Authorize(t.Context(), gatewaytest.Authorization(1203))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Less(t, time.Since(start), gateway.DefaultTimeout)
}
