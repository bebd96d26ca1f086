package main

import (
	"net"
	"net/netip"
	"strings"

	"example.com/orders/functions/internal/operate/console"
	"example.com/orders/functions/internal/web/identity"
	"example.com/orders/functions/internal/web/session"
)

// prepareLogin sets up what reads tokens, and the log-in to the console if the configuration has one. Browsers use the host of
// PUBLIC_URL, so the harness answers to it. addr is the --addr.
func (h *harness) prepareLogin(addr string) (err error) {
	if h.verifier, err = identity.New(h.servers.config); err != nil {
		return err
	}
	url := h.origin
	if host, _, err := net.SplitHostPort(addr); err == nil {
		if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
			scheme, _, _ := strings.Cut(h.origin, "://")
			url = scheme + "://" + addr // on all networks: then this process reaches itself at a loopback address, but browsers do not
		}
	}
	h.sessions, err = session.New(session.Options{
		Config: h.servers.config, Verifier: h.verifier, URL: url, Show: console.ShowNotice, Log: h.log,
	})
	if err != nil {
		return err
	}
	if host := h.sessions.Host(); host != "" {
		h.hosts = h.hosts.with(net.JoinHostPort(host, "443"))
	}
	return nil
}
