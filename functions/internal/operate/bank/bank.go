// Package bank is a payment gateway to develop and to test with: the reference server of the contract that its OpenAPI
// description states. It takes authorizations and refunds over HTTP, keeps them in a ledger on disk before it answers, and
// misbehaves as a scenario says.
package bank

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/functions/internal/observe/oneline"
	"example.com/orders/functions/internal/operate/openapi"
	"example.com/orders/functions/internal/web/rest"
)

//go:embed openapi.yaml
var source []byte

// Description returns the contract, as OpenAPI 3.1 in JSON.
var Description = openapi.FromYAML(source)

// Options are the settings of a bank.
type Options struct {
	Ledger   string // the file of the ledger, created with its folder if it is missing
	Scenario gateway.Scenario
	Token    string                   // the bearer token that callers must send; empty for none
	Hosts    func(header string) bool // whether it answers to a Host header; nil for all
	Log      *slog.Logger
}

// Bank is an open bank.
type Bank struct {
	options Options
	gateway *gateway.Simulated
	ledger  *ledger
}

// Open reads the ledger. It returns an error if another process has it, or a line of it is damaged.
func Open(o Options) (*Bank, error) {
	book := &gateway.Book{}
	l, err := openLedger(o.Ledger, book.Restore)
	if err != nil {
		return nil, err
	}
	book.Record = l.record
	return &Bank{options: o, ledger: l, gateway: &gateway.Simulated{Scenario: o.Scenario, Book: book, Kept: l.kept}}, nil
}

// Close makes all entries safe and closes the ledger. No request may be under way.
func (b *Bank) Close() error { return b.ledger.close() }

const (
	headWithin   = 5 * time.Second  // for the head of a request
	sendWithin   = 30 * time.Second // for a whole request
	answerWithin = 30 * time.Second // for an answer to be taken; longer than a lost one takes to be cut off
	idleFor      = 2 * time.Minute
	drainWithin  = 5 * time.Second // for requests under way at the end
)

// Serve answers requests on the listener until ctx ends, and then the requests under way. It returns early with an error if
// the ledger cannot be written.
func (b *Bank) Serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler: b.Handler(), ReadHeaderTimeout: headWithin, ReadTimeout: sendWithin, WriteTimeout: answerWithin, IdleTimeout: idleFor,
		MaxHeaderBytes: 1 << 16, DisableGeneralOptionsHandler: true, // which would answer OPTIONS * for any host
		ErrorLog: slog.NewLogLogger(b.options.Log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	var err error
	select {
	case <-ctx.Done():
	case <-b.ledger.failed:
		b.ledger.mu.Lock()
		err = fmt.Errorf("the bank stops, since its ledger cannot be written: %w", b.ledger.err)
		b.ledger.mu.Unlock()
	case err := <-served:
		return err
	}
	draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainWithin)
	defer cancel()
	if server.Shutdown(draining) != nil {
		err = errors.Join(err, server.Close()) // what is left waits for the end of a lost answer
	}
	return err
}

// Handler returns the handler of all requests.
func (b *Bank) Handler() http.Handler {
	mux := http.NewServeMux()
	route := func(path, allow string, methods map[string]answer) {
		for method, handle := range methods {
			mux.Handle(method+" "+path, b.handler(b.known(handle)))
		}
		mux.Handle(path, b.handler(rest.NotAllowed(allow)))
	}
	route("/authorizations/{key}", "GET, HEAD, PUT", map[string]answer{
		http.MethodPut: b.authorize,
		http.MethodGet: b.find(b.gateway.LookupAuthorization),
	})
	route("/refunds/{key}", "GET, HEAD, PUT", map[string]answer{
		http.MethodPut: b.refund,
		http.MethodGet: b.find(b.gateway.LookupRefund),
	})
	route("/ledger", "GET, HEAD", map[string]answer{http.MethodGet: b.page})
	mux.HandleFunc("GET /openapi.json", openapi.Serve(Description))
	mux.Handle("GET /health", b.handler(b.health))
	mux.Handle("/", b.handler(rest.NotFound))
	return b.onlyItsHosts(mux)
}

// answer answers a request, or returns an error that becomes the answer.
type answer = func(w http.ResponseWriter, r *http.Request) error

func (b *Bank) handler(handle answer) http.Handler {
	return rest.Handler(func() *slog.Logger { return b.options.Log }, handle)
}

// onlyItsHosts answers requests to unknown hosts with 421. It prevents DNS rebinding, by which a page of another site would
// reach a bank on this machine.
func (b *Bank) onlyItsHosts(next http.Handler) http.Handler {
	misdirected := b.handler(func(_ http.ResponseWriter, r *http.Request) error {
		return rest.NewProblem(http.StatusMisdirectedRequest, fmt.Sprintf(
			"this bank does not answer to the host %q: use localhost or 127.0.0.1, or add the name to BANK_HOSTS or --hosts to allow it", oneline.Of(r.Host, 255)))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b.options.Hosts != nil && !b.options.Hosts(r.Host) {
			misdirected.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// known lets only callers with the token pass.
func (b *Bank) known(next answer) answer {
	if b.options.Token == "" {
		return next
	}
	want := sha256.Sum256([]byte(b.options.Token))
	return func(w http.ResponseWriter, r *http.Request) error {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(token))
		if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(want[:], got[:]) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			return rest.NewProblem(http.StatusUnauthorized, "send the bank's token as Authorization: Bearer TOKEN")
		}
		return next(w, r)
	}
}

// health answers GET /health.
func (b *Bank) health(w http.ResponseWriter, _ *http.Request) error {
	select {
	case <-b.ledger.failed:
		return rest.Unavailable("the ledger cannot be written: look into the log, and start the bank again")
	default:
		return rest.JSON(w, http.StatusOK, map[string]string{"status": "UP"})
	}
}
