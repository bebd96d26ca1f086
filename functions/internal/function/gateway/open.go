package gateway

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"example.com/orders/functions/internal/web/secret"
)

// The values of PAYMENT_GATEWAY.
const (
	simulated = "simulated"
	byHTTP    = "http"
)

// inProcess is the book of all gateways that Open simulates: the functions of one process act on the same money.
var inProcess = &Book{Trusting: true}

// Open returns the guarded gateway that PAYMENT_GATEWAY names: simulated (the default), which behaves as PAYMENT_SIMULATION
// says, or http, at PAYMENT_GATEWAY_URL with the bearer token PAYMENT_GATEWAY_TOKEN (or its file), if any. PAYMENT_GATEWAY_TIMEOUT bounds
// each call (3s), PAYMENT_GATEWAY_CALLS the calls in flight (512). It does not connect yet. All simulated gateways of a
// process share one book.
func Open(config map[string]string) (Gateway, error) {
	options, err := readOptions(config)
	if err != nil {
		return nil, err
	}
	switch config["PAYMENT_GATEWAY"] {
	case "", simulated:
		scenario, err := ParseScenario(config["PAYMENT_SIMULATION"])
		if err != nil {
			return nil, fmt.Errorf("PAYMENT_SIMULATION: %w", err)
		}
		return Guard(&Simulated{Scenario: scenario, Book: inProcess}, options), nil
	case byHTTP:
		client, err := openHTTP(config)
		if err != nil {
			return nil, err
		}
		return Guard(client, options), nil
	}
	return nil, unknownGateway(config)
}

// ErrNoLedger means that the gateway of a deployment has no ledger that another process can read.
var ErrNoLedger = errors.New("the simulated payment gateway has no ledger: set PAYMENT_GATEWAY=http to have one")

// OpenLedger returns the ledger of the gateway that PAYMENT_GATEWAY names, at the address and with the token of Open. It
// returns ErrNoLedger if the gateway is simulated.
func OpenLedger(config map[string]string) (Ledger, error) {
	switch config["PAYMENT_GATEWAY"] {
	case "", simulated:
		return nil, ErrNoLedger
	case byHTTP:
		return openHTTP(config)
	}
	return nil, unknownGateway(config)
}

func unknownGateway(config map[string]string) error {
	return fmt.Errorf("PAYMENT_GATEWAY is %q: give %s or %s", config["PAYMENT_GATEWAY"], simulated, byHTTP)
}

// The largest values of PAYMENT_GATEWAY_TIMEOUT and PAYMENT_GATEWAY_CALLS.
const (
	maxTimeout = time.Minute
	maxCalls   = 10_000
)

func readOptions(config map[string]string) (o Options, err error) {
	o.Timeout = DefaultTimeout
	if text := config["PAYMENT_GATEWAY_TIMEOUT"]; text != "" {
		if o.Timeout, err = time.ParseDuration(text); err != nil || o.Timeout < time.Millisecond || o.Timeout > maxTimeout {
			return o, fmt.Errorf("PAYMENT_GATEWAY_TIMEOUT is %q: give a time from 1ms to %s, as in 3s", text, maxTimeout)
		}
	}
	o.Calls = defaultCalls
	if text := config["PAYMENT_GATEWAY_CALLS"]; text != "" {
		if o.Calls, err = strconv.Atoi(text); err != nil || o.Calls < 1 || o.Calls > maxCalls {
			return o, fmt.Errorf("PAYMENT_GATEWAY_CALLS is %q: give a number from 1 to %d", text, maxCalls)
		}
	}
	return o, nil
}

func openHTTP(config map[string]string) (*HTTP, error) {
	options, err := readOptions(config)
	if err != nil {
		return nil, err
	}
	base, err := url.Parse(config["PAYMENT_GATEWAY_URL"])
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" ||
		base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return nil, errors.New("PAYMENT_GATEWAY_URL: give an http or https URL without a login and a query, like http://127.0.0.1:8085; the login is PAYMENT_GATEWAY_TOKEN")
	}
	token, err := secret.Read(config, "PAYMENT_GATEWAY_TOKEN")
	if err != nil {
		return nil, err
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("PAYMENT_GATEWAY_TOKEN: give printable ASCII characters without spaces")
	}
	return NewHTTP(base.String(), token, options.Calls), nil
}
