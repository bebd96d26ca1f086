package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"example.com/orders/functions/internal/web/direct"
)

// healthWithin bounds the health command, so that it fails if the harness hangs.
const healthWithin = 4 * time.Second

// healthCommand checks the health of the harness on --addr or --data, and fails unless every function can work. It is the
// health check of an image without a shell or curl.
func healthCommand(ctx context.Context, o options, out streams) (err error) {
	ctx, cancel := context.WithTimeout(ctx, healthWithin)
	defer cancel()
	base, err := healthOrigin(o)
	if err != nil {
		return err
	}
	url := base + "/health"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("ask %s: %w", url, err)
	}
	response, err := toHarness().Do(request)
	if err != nil {
		return unreachable(fmt.Errorf("no harness answers: %w", err))
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
	if err != nil {
		return unreachable(fmt.Errorf("read the answer of %s: %w", url, err))
	}
	answer := strings.TrimSpace(string(text))
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s: %s", url, response.Status, answer)
	}
	fmt.Fprintln(out.stdout, answer)
	return nil
}

// healthOrigin returns the URL whose /health says most: that of the port for those who run the harness, if it is known. An
// address that the user gives stands before that of the data folder.
func healthOrigin(o options) (string, error) {
	if o.opsAddr != "" && !o.addrFlag {
		o.addr, o.addrNamed = o.opsAddr, true
	}
	if o.addrNamed || !o.dataNamed || o.ephemeral {
		return o.given()
	}
	running, err := findRunning(o.data)
	if err != nil {
		return "", err
	}
	if running == nil {
		return "", unreachable(fmt.Errorf("no harness is running on %s", o.data))
	}
	return running.origin(or(running.Ops, running.Addr), o.environ[caVariable])
}

// toHarness returns a client for a few requests to a harness, without keep-alive.
func toHarness() *http.Client {
	transport := direct.Transport()
	transport.DisableKeepAlives = true
	return &http.Client{Transport: transport}
}

// reachable returns the address at which a server that listens on addr is reached from the same machine: the loopback
// address if it listens on all addresses.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1" // for [::] too: a container may have no ::1
	}
	return net.JoinHostPort(host, port)
}
