package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"

	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/functions/internal/operate/bank"
	"example.com/orders/functions/internal/web/secret"
	"example.com/orders/knative"
)

// Variables of the payment gateway, which gateway.Open reads.
const (
	gatewayVariable = "PAYMENT_GATEWAY"
	gatewayURL      = "PAYMENT_GATEWAY_URL"
	gatewayToken    = "PAYMENT_GATEWAY_TOKEN"

	simulatedGateway, httpGateway = "simulated", "http"
)

// ledgerFile is the ledger of a bank, within the data folder.
var ledgerFile = filepath.Join("bank", "ledger.jsonl")

// asksGateway returns whether a function of the wiring asks a payment gateway.
func asksGateway(w *knative.Wiring) bool {
	for _, service := range w.Services {
		if service.Env[gatewayVariable] != "" {
			return true
		}
	}
	return false
}

// ownBank is the reference bank, run by the harness for a gateway by HTTP that has no address.
type ownBank struct {
	bank   *bank.Bank
	end    context.CancelFunc
	ended  chan struct{}
	err    error      // once ended is closed
	lost   chan error // gets why the bank ended by itself
	giveUp func()     // the port
}

// prepareGateway completes the variables of the gateway if the wiring asks one, and starts the reference bank if
// PAYMENT_GATEWAY is http without a PAYMENT_GATEWAY_URL. Functions in processes of their own have no simulated gateway in
// common, so the bank serves them, too.
func (s *servers) prepareGateway(wiring *knative.Wiring, o options, data *dataFolder, log *slog.Logger) error {
	if !asksGateway(wiring) {
		return nil
	}
	kind := or(s.config[gatewayVariable], simulatedGateway)
	if o.deployed && kind == simulatedGateway {
		kind, s.config[gatewayURL] = httpGateway, ""
	}
	s.config[gatewayVariable] = kind
	switch {
	case kind != httpGateway:
		s.payments = kind + " in this process"
		return nil
	case s.config[gatewayURL] != "":
		s.payments = "the gateway at " + s.config[gatewayURL]
		return nil
	}
	return s.startBank(data, log)
}

// startBank starts the bank on the ledger in the data folder, and sets PAYMENT_GATEWAY_URL.
func (s *servers) startBank(data *dataFolder, log *slog.Logger) error {
	scenario, err := gateway.ParseScenario(s.config["PAYMENT_SIMULATION"])
	if err != nil {
		return fmt.Errorf("PAYMENT_SIMULATION: %w", err)
	}
	path := filepath.Join(data.path, ledgerFile)
	token, err := secret.Read(s.config, gatewayToken)
	if err != nil {
		return err
	}
	opened, err := bank.Open(bank.Options{Ledger: path, Scenario: scenario, Token: token, Hosts: hosts{}.answersTo, Log: log})
	if err != nil {
		return fmt.Errorf("start the bank of the harness: %w", err)
	}
	address, release, err := reserveAddress()
	if err != nil {
		return errors.Join(err, opened.Close())
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		release()
		return errors.Join(fmt.Errorf("start the bank of the harness: %w", err), opened.Close())
	}
	ctx, end := context.WithCancel(context.Background())
	s.bank = &ownBank{bank: opened, end: end, ended: make(chan struct{}), lost: make(chan error, 1), giveUp: release}
	go s.bank.serve(ctx, listener)
	s.config[gatewayURL] = "http://" + address
	s.payments = "a bank of our own, " + s.config[gatewayURL] + ", ledger " + path
	return nil
}

func (b *ownBank) serve(ctx context.Context, listener net.Listener) {
	defer close(b.ended)
	b.err = b.bank.Serve(ctx, listener)
	if ctx.Err() == nil {
		b.lost <- fmt.Errorf("the bank of the harness has ended: %w", b.err)
	}
}

// stop ends the bank after the requests under way. All entries are safe then.
func (b *ownBank) stop() error {
	b.end()
	<-b.ended
	b.giveUp()
	return errors.Join(b.err, b.bank.Close())
}

// bankLost returns why the bank ended by itself.
func (s *servers) bankLost() <-chan error {
	if s.bank == nil {
		return nil
	}
	return s.bank.lost
}
