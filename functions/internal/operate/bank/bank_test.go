package bank_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/functions/internal/operate/bank"
	"example.com/orders/functions/internal/testkit/gatewaytest"
	"example.com/orders/functions/internal/testkit/openapitest"
	"example.com/orders/functions/internal/testkit/porttest"
)

// Variables that make the test program a bank.
const ledgerVariable, addrVariable = "BANK_TEST_LEDGER", "BANK_TEST_ADDR"

func TestMain(m *testing.M) {
	if os.Getenv(ledgerVariable) != "" {
		if err := serve(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func serve() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	b, err := bank.Open(bank.Options{Ledger: os.Getenv(ledgerVariable), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", os.Getenv(addrVariable))
	if err != nil {
		return err
	}
	if err := b.Serve(ctx, listener); err != nil {
		return err
	}
	return b.Close()
}

// open opens a bank and serves it.
func open(t *testing.T, o bank.Options, check func(http.Handler) http.Handler) (*gateway.HTTP, string) {
	t.Helper()
	if o.Ledger == "" {
		o.Ledger = filepath.Join(t.TempDir(), "ledger.jsonl")
	}
	o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	b, err := bank.Open(o)
	require.NoError(t, err)
	server := httptest.NewServer(check(b.Handler()))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		require.NoError(t, b.Close())
	})
	return gateway.NewHTTP(server.URL, o.Token, 16), server.URL
}

// described checks every answer against the description.
func described(t *testing.T) func(http.Handler) http.Handler {
	t.Helper()
	description := openapitest.Read(bank.Description())
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			recorded := httptest.NewRecorder()
			next.ServeHTTP(recorded, r)
			assert.NoError(t, description.Check(r.Method, r.URL, recorded.Code, recorded.Header(), recorded.Body.Bytes()))
			for name, values := range recorded.Header() {
				w.Header()[name] = values
			}
			w.WriteHeader(recorded.Code)
			_, _ = w.Write(recorded.Body.Bytes())
		})
	}
}

func TestTheBankConformsByHTTPAsItIsDescribed(t *testing.T) {
	gatewaytest.Conform(t, func(t *testing.T) gatewaytest.Subject {
		t.Helper()
		client, _ := open(t, bank.Options{Token: "s3cret"}, described(t))
		return client
	})
}

func TestEveryRefusalIsDescribedAndSaysWhatToDo(t *testing.T) {
	_, url := open(t, bank.Options{Token: "s3cret", Hosts: func(host string) bool { return strings.HasPrefix(host, "127.0.0.1") }}, described(t))
	const authorization = `{"orderId":"a","amount":1299,"currency":"EUR"}`
	for name, test := range map[string]struct {
		method, path, body string
		change             func(*http.Request)
		status             int
		says               string
	}{
		"no token":              {"PUT", "/authorizations/a", authorization, func(r *http.Request) { r.Header.Del("Authorization") }, 401, "Bearer TOKEN"},
		"another token":         {"GET", "/ledger", "", func(r *http.Request) { r.Header.Set("Authorization", "Bearer s3cre") }, 401, "Bearer TOKEN"},
		"a login by password":   {"GET", "/refunds/a", "", func(r *http.Request) { r.SetBasicAuth("a", "s3cret") }, 401, "Bearer TOKEN"},
		"another host":          {"GET", "/ledger", "", func(r *http.Request) { r.Host = "evil.example" }, 421, "--hosts"},
		"a key too long":        {"PUT", "/authorizations/" + strings.Repeat("a", 129), authorization, nil, 400, "1 to 128"},
		"a slash in the key":    {"PUT", "/authorizations/a%2Fb", authorization, nil, 400, "1 to 128"},
		"a key out of bounds":   {"GET", "/refunds/a%20b", "", nil, 400, "1 to 128"},
		"no JSON":               {"PUT", "/authorizations/a", "{", nil, 400, ""},
		"an array":              {"PUT", "/authorizations/a", "[]", nil, 400, ""},
		"all fields missing":    {"PUT", "/authorizations/a", "{}", nil, 400, `"field":"orderId"`},
		"an unknown field":      {"PUT", "/authorizations/a", `{"orderId":"a","amount":1,"currency":"EUR","capture":true}`, nil, 400, "unknown field"},
		"an amount below 0":     {"PUT", "/authorizations/a", `{"orderId":"a","amount":-1,"currency":"EUR"}`, nil, 400, "minor units"},
		"a part of a unit":      {"PUT", "/refunds/a", `{"authorization":"b","amount":1.5,"currency":"EUR"}`, nil, 400, `"field":"amount"`},
		"a long currency":       {"PUT", "/refunds/a", `{"authorization":"b","amount":1,"currency":"EURO"}`, nil, 400, "ISO 4217"},
		"no authorization":      {"PUT", "/refunds/a", `{"authorization":"","amount":1,"currency":"EUR"}`, nil, 400, "1 to 128"},
		"no content type":       {"PUT", "/refunds/a", "{}", func(r *http.Request) { r.Header.Del("Content-Type") }, 415, "application/json"},
		"a body too large":      {"PUT", "/refunds/a", strings.Repeat(" ", 2<<20), nil, 413, "larger"},
		"a key that is unknown": {"GET", "/authorizations/never", "", nil, 404, "no request with this key"},
		"a page of nothing":     {"GET", "/ledger?limit=0", "", nil, 400, "1 to 1000"},
		"a page too large":      {"GET", "/ledger?limit=1001", "", nil, 400, "1 to 1000"},
		"a cursor of no order":  {"GET", "/ledger?after=a%20b", "", nil, 400, "after"},
		"another method":        {"DELETE", "/authorizations/a", "", nil, 405, "GET, HEAD, PUT"},
		"a write to the ledger": {"POST", "/ledger", "", nil, 405, "GET, HEAD"},
		"another path":          {"GET", "/accounts", "", nil, 404, "nothing at this path"},
	} {
		t.Run(name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), test.method, url+test.path, strings.NewReader(test.body))
			require.NoError(t, err)
			request.Header.Set("Authorization", "Bearer s3cret")
			request.Header.Set("Content-Type", "application/json")
			if test.change != nil {
				test.change(request)
			}
			response, err := http.DefaultClient.Do(request)
			require.NoError(t, err)
			defer func() { _ = response.Body.Close() }()
			text, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			assert.Equal(t, test.status, response.StatusCode, "%s", text)
			assert.Contains(t, string(text), test.says)
		})
	}
}

func TestTheDescriptionAndTheHealthNeedNoToken(t *testing.T) {
	_, url := open(t, bank.Options{Token: "s3cret"}, func(h http.Handler) http.Handler { return h })
	for path, says := range map[string]string{"/openapi.json": `"openapi":"3.1.0"`, "/health": `{"status":"UP"}`} {
		response, err := http.Get(url + path)
		require.NoError(t, err)
		text, err := io.ReadAll(response.Body)
		require.NoError(t, errors.Join(err, response.Body.Close()))
		assert.Equal(t, http.StatusOK, response.StatusCode)
		assert.Contains(t, string(text), says)
	}
}

// TestALostAnswerIsNoAnswer ends the time of a request whose answer the scenario loses: a 503 would say that it had no effect.
func TestALostAnswerIsNoAnswer(t *testing.T) {
	t.Parallel()
	b, err := bank.Open(bank.Options{Ledger: filepath.Join(t.TempDir(), "ledger.jsonl"), Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	handler := b.Handler()
	ctx, end := context.WithCancel(t.Context())
	defer end()
	w, lost := httptest.NewRecorder(), make(chan any, 1)
	go func() {
		defer func() { lost <- recover() }()
		r := httptest.NewRequestWithContext(ctx, http.MethodPut, "/authorizations/a", strings.NewReader(`{"orderId":"a","amount":1203,"currency":"EUR"}`))
		r.Header.Set("Content-Type", "application/json")
		handler.ServeHTTP(w, r)
	}()
	require.Eventually(t, func() bool {
		found := httptest.NewRecorder()
		handler.ServeHTTP(found, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/authorizations/a", nil))
		return found.Code == http.StatusOK
	}, 30*time.Second, time.Millisecond)
	end()
	assert.Equal(t, http.ErrAbortHandler, <-lost, "the connection breaks")
	assert.Empty(t, w.Body.String())
	require.NoError(t, b.Close())
}

// process is a bank in a process of its own.
type process struct {
	*gateway.HTTP
	command *exec.Cmd
	log     *bytes.Buffer
}

// start starts a process on a ledger, and waits until it answers.
func start(t *testing.T, ledger string) *process {
	t.Helper()
	address := porttest.Address(t)
	p := &process{gateway.NewHTTP("http://"+address, "", 16), exec.Command(os.Args[0]), &bytes.Buffer{}}
	p.command.Env = append(os.Environ(), ledgerVariable+"="+ledger, addrVariable+"="+address)
	p.command.Stderr = p.log
	require.NoError(t, p.command.Start())
	t.Cleanup(func() { _ = p.command.Process.Kill() }) // it has ended if the test was successful
	require.Eventually(t, func() bool {
		_, _, err := p.Ledger(t.Context(), "", 1)
		return err == nil
	}, 30*time.Second, time.Millisecond)
	return p
}

func (p *process) kill(t *testing.T) {
	t.Helper()
	require.NoError(t, p.command.Process.Kill())
	require.Error(t, p.command.Wait())
}

func TestABankThatIsKilledBetweenTheWriteAndTheAnswerKnowsWhatItDid(t *testing.T) {
	t.Parallel()
	ledger := filepath.Join(t.TempDir(), "ledger.jsonl")
	p := start(t, ledger)
	a := gatewaytest.Authorization(1203) // whose answer is lost
	ended := make(chan error, 1)
	go func() {
		_, err := p.Authorize(t.Context(), a)
		ended <- err
	}()
	require.Eventually(t, func() bool {
		_, err := p.Lookup(t.Context(), a.Key)
		return err == nil
	}, 30*time.Second, time.Millisecond)
	p.kill(t)
	err := <-ended
	require.Error(t, err)
	assert.False(t, gateway.IsNotAsked(err), "the caller cannot know")

	p = start(t, ledger)
	answer, err := p.Lookup(t.Context(), a.Key)
	require.NoError(t, err)
	assert.Equal(t, gateway.Authorized, answer.Status)
	again, err := p.Authorize(t.Context(), a)
	require.NoError(t, err)
	assert.Equal(t, answer, again)
	assert.Equal(t, &gateway.Holding{OrderID: a.OrderID, Authorized: 1203, Currency: "EUR"}, gatewaytest.Held(t, p, a.OrderID))
	p.kill(t)
}

func TestABankThatIsKilledUnderLoadKeepsWhatItAnswered(t *testing.T) {
	t.Parallel()
	ledger := filepath.Join(t.TempDir(), "ledger.jsonl")
	var answers sync.Map // what was answered, by request
	for range 3 {
		p := start(t, ledger)
		enough := make(chan struct{}, 10_000)
		var clients sync.WaitGroup
		for range 8 {
			clients.Go(func() {
				for {
					a := gatewaytest.Authorization(1299)
					answer, err := p.Authorize(t.Context(), a)
					if err != nil {
						return // it was killed
					}
					answers.Store(a, answer)
					if answer, err = p.Refund(t.Context(), gatewaytest.RefundOf(a, "")); err != nil {
						return
					}
					answers.Store(gatewaytest.RefundOf(a, ""), answer)
					enough <- struct{}{}
				}
			})
		}
		for range 100 {
			<-enough
		}
		p.kill(t)
		clients.Wait()
	}
	p := start(t, ledger)
	n := 0
	answers.Range(func(request, answered any) bool {
		var now gateway.Answer
		var err error
		if a, ok := request.(gateway.Authorization); ok {
			now, err = p.Authorize(t.Context(), a)
		} else {
			now, err = p.Refund(t.Context(), request.(gateway.Refund))
		}
		n++
		return assert.NoError(t, err) && assert.Equal(t, answered, now)
	})
	assert.GreaterOrEqual(t, n, 600)
	p.kill(t)
}

func TestASecondProcessOnTheSameLedgerIsRefused(t *testing.T) {
	t.Parallel()
	ledger := filepath.Join(t.TempDir(), "ledger.jsonl")
	p := start(t, ledger)
	second := exec.Command(os.Args[0])
	second.Env = append(os.Environ(), ledgerVariable+"="+ledger, addrVariable+"="+porttest.Address(t))
	text, err := second.CombinedOutput()
	require.Error(t, err)
	assert.Contains(t, string(text), "another process has the ledger "+ledger+": stop it, or give another file")
	p.kill(t)
}

func TestABankThatIsAskedToEndAnswersWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	p := start(t, filepath.Join(t.TempDir(), "ledger.jsonl"))
	a := gatewaytest.Authorization(1206) // which takes two seconds
	answered := make(chan gateway.Answer, 1)
	go func() {
		answer, err := p.Authorize(t.Context(), a)
		assert.NoError(t, err)
		answered <- answer
	}()
	require.Eventually(t, func() bool {
		_, err := p.Lookup(t.Context(), a.Key)
		return err == nil
	}, 30*time.Second, time.Millisecond)
	require.NoError(t, p.command.Process.Signal(syscall.SIGTERM))
	assert.Equal(t, gateway.Authorized, (<-answered).Status)
	require.NoError(t, p.command.Wait(), "%s", p.log)
}
