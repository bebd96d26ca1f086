package limit

import (
	"context"
	"net/http"
	"net/netip"
	"strings"

	"example.com/orders/functions/internal/web/identity"
)

// client is where a request comes from: its connection's other end, and what the proxies said.
type client struct {
	remote    string
	forwarded []string // the values of X-Forwarded-For, first line first
}

type clientKey struct{}

// With returns a context with the client of a request, for Admit.
func With(ctx context.Context, r *http.Request) context.Context {
	return context.WithValue(ctx, clientKey{}, client{r.RemoteAddr, r.Header.Values("X-Forwarded-For")})
}

// key returns who has made the request in ctx: its principal, else the network of its address, empty without a client.
func (l *Limiter) key(ctx context.Context) string {
	if owner := identity.From(ctx).Owner(); owner != "" {
		return owner
	}
	c, ok := ctx.Value(clientKey{}).(client)
	if !ok {
		return ""
	}
	return "address " + c.network(l.proxies)
}

// network returns the address of the client behind a number of trusted proxies. Each of them appends the address of its
// peer to X-Forwarded-For, so that many entries from the right are true, and all before them is what the client says. Of an
// IPv6 address it is the network of 64 bits, since a customer's line has a whole one (RFC 6177). An entry that is no address
// counts as the one of the proxy that sent it.
func (c client) network(proxies int) string {
	address, ok := parseAddress(c.remote)
	if !ok {
		return c.remote // a Unix socket, or a test
	}
	entries := strings.Split(strings.Join(c.forwarded, ","), ",")
	for n := range min(proxies, len(entries)) {
		forwarded, ok := parseAddress(entries[len(entries)-1-n])
		if !ok {
			break
		}
		address = forwarded
	}
	if address.Is6() {
		network, _ := address.Prefix(64) // an IPv6 address has 128 bits
		return network.String()
	}
	return address.String()
}

// parseAddress reads an address with or without a port.
func parseAddress(text string) (netip.Addr, bool) {
	text = strings.TrimSpace(text)
	if withPort, err := netip.ParseAddrPort(text); err == nil {
		return withPort.Addr().Unmap().WithZone(""), true
	}
	address, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	return address.Unmap().WithZone(""), err == nil
}
