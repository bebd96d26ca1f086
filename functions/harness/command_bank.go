package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/functions/internal/operate/bank"
	"example.com/orders/functions/internal/web/secret"
)

// bankSettings are the flags of bank, and the environment.
type bankSettings struct {
	addr, ledger, hosts, simulate string
	trustNetwork                  bool
	environ                       map[string]string
}

// prepareBank adds the flags of bank.
func prepareBank(environ map[string]string) func(*pflag.FlagSet) runner {
	return func(flags *pflag.FlagSet) runner {
		set := bankSettings{environ: environ}
		flags.StringVar(&set.addr, "addr", or(environ["BANK_ADDR"], "127.0.0.1:8085"), "`address` to serve HTTP on [BANK_ADDR]")
		flags.StringVar(&set.ledger, "ledger", environ["BANK_LEDGER"], "`file` of the ledger (default bank/ledger.jsonl in the data folder) [BANK_LEDGER]")
		flags.StringVar(&set.hosts, "hosts", environ["BANK_HOSTS"], "`names` and addresses that it answers to besides localhost and 127.0.0.1, separated by commas [BANK_HOSTS]")
		flags.BoolVar(&set.trustNetwork, "trust-network", false, "serve on an address that is not a loopback one without BANK_TOKEN: everybody there may call [HARNESS_TRUST_NETWORK=true]")
		flags.StringVar(&set.simulate, "simulate", environ["PAYMENT_SIMULATION"],
			"the `scenario` that it acts out: any of decline=RATE, timeout=RATE, unknown=RATE, latency=TIME:JITTER and amounts=plain, with rates from 0 to 1, as in decline=0.05,latency=20ms [PAYMENT_SIMULATION]")
		return func(ctx context.Context, o options, out streams) (err error) {
			if set.trustNetwork, err = trusting(flags, set.trustNetwork, environ); err != nil {
				return usage(err)
			}
			return bankCommand(ctx, o, set, out)
		}
	}
}

// bankCommand runs the payment gateway of the package bank until ctx ends.
func bankCommand(ctx context.Context, o options, set bankSettings, out streams) (err error) {
	scenario, err := gateway.ParseScenario(set.simulate)
	if err != nil {
		return usage(fmt.Errorf("--simulate: %w", err))
	}
	allowed, err := readHosts(set.hosts)
	if err != nil {
		return usage(fmt.Errorf("--hosts: %w", err))
	}
	if _, _, err := net.SplitHostPort(set.addr); err != nil {
		return usage(fmt.Errorf("--addr %q: give host:port: %w", set.addr, err))
	}
	token, err := secret.Read(set.environ, "BANK_TOKEN")
	if err != nil {
		return usage(err)
	}
	if set.ledger == "" {
		folder := o.data
		if o.ephemeral {
			if folder, err = os.MkdirTemp("", "bank-"); err != nil {
				return fmt.Errorf("make a temporary folder for the ledger: %w", err)
			}
			defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
		}
		set.ledger = filepath.Join(folder, ledgerFile)
	}
	log := o.logger(out.stderr)
	// Before the ledger is read, so that an address in use is reported at once.
	listener, err := net.Listen("tcp", set.addr)
	if err != nil {
		return fmt.Errorf("%w: stop the program that listens there, or give another address with --addr", err)
	}
	defer func() { _ = listener.Close() }() // the server has closed it if it ran
	if !isLocal(listener.Addr()) && token == "" && !set.trustNetwork {
		return usage(fmt.Errorf("--addr %s (%s) would let everybody who reaches this machine move money: set BANK_TOKEN, which callers must then send, "+
			"or, if you trust everybody on that network, add --trust-network or set HARNESS_TRUST_NETWORK=true", set.addr, listener.Addr()))
	}
	b, err := bank.Open(bank.Options{
		Ledger: set.ledger, Scenario: scenario, Token: token, Log: log,
		Hosts: allowed.with(set.addr, listener.Addr().String()).answersTo,
	})
	if err != nil {
		return err
	}
	at := ownAddress(set.addr, listener.Addr())
	fmt.Fprintf(out.stderr, `
bank is ready
  contract  http://%[1]s/openapi.json
  ledger    %[2]s

For the harness:
  export PAYMENT_GATEWAY=http PAYMENT_GATEWAY_URL=http://%[1]s

`, at, set.ledger)
	err = b.Serve(ctx, listener)
	return errors.Join(err, b.Close())
}
