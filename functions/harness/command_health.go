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

// healthWithin bounds the health command, so that a harness that hangs is told from one that is well.
const healthWithin = 4 * time.Second

// healthCommand asks the harness on --addr or --data how it is, and fails unless every function can work. An image without a
// shell or curl is checked by it.
func healthCommand(ctx context.Context, o options, out streams) (err error) {
	ctx, cancel := context.WithTimeout(ctx, healthWithin)
	defer cancel()
	addr, err := addrOf(o)
	if err != nil {
		return err
	}
	url := "http://" + reachable(addr) + "/health"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("ask %s: %w", url, err)
	}
	response, err := toHarness().Do(request)
	if err != nil {
		return fmt.Errorf("no harness answers: %w", err)
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", url, err)
	}
	answer := strings.TrimSpace(string(text))
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s: %s", url, response.Status, answer)
	}
	fmt.Fprintln(out.stdout, answer)
	return nil
}

// addrOf is where the harness is that was named: by its address, or else by its data folder.
func addrOf(o options) (string, error) {
	if o.addrNamed || !o.dataNamed || o.ephemeral {
		return o.addr, nil
	}
	running, err := findRunning(o.data)
	if err != nil {
		return "", err
	}
	if running == nil {
		return "", fmt.Errorf("no harness is running on %s", o.data)
	}
	return running.Addr, nil
}

// toHarness returns a client for a few requests to a harness, which keeps no connection.
func toHarness() *http.Client {
	transport := direct.Transport()
	transport.DisableKeepAlives = true
	return &http.Client{Transport: transport}
}

// reachable is the address at which a server that listens on addr is found from the same machine: one that listens on
// all addresses is found at the loopback one.
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
