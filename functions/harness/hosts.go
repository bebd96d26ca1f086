package main

import (
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"

	"example.com/orders/functions/internal/observe/oneline"
	"example.com/orders/functions/internal/web/rest"
)

// hosts are the names and addresses that the harness answers to besides loopback ones. It prevents DNS rebinding: a page of
// another site can make its own name resolve to 127.0.0.1, and then read and write here as on its own site. Only the Host
// header of its requests reveals it.
type hosts map[string]bool

// readHosts parses a list of names, separated by commas.
func readHosts(list string) (hosts, error) {
	h := hosts{}
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		name := item
		if strings.Contains(item, ":") && !strings.HasPrefix(item, "[") {
			name = "[" + item + "]" // an IPv6 address, or it is refused
		}
		parts := hostPort.FindStringSubmatch(name)
		if parts == nil || parts[2] != "" {
			return nil, fmt.Errorf("%q: give names or addresses without scheme and port, separated by commas", item)
		}
		h[oneSpelling(parts[1])] = true
	}
	return h, nil
}

// with returns the hosts together with those of listening addresses, except for wildcard addresses.
func (h hosts) with(addresses ...string) hosts {
	all := hosts{}
	maps.Copy(all, h)
	for _, address := range addresses {
		host, _, err := net.SplitHostPort(address)
		if ip, notIP := netip.ParseAddr(host); err == nil && host != "" && (notIP != nil || !ip.IsUnspecified()) {
			all[oneSpelling(host)] = true
		}
	}
	return all
}

// ownAddress returns the address at which this process reaches itself. It is neither the --addr, since a name may resolve to
// another machine, nor always the listening address, which for 0.0.0.0 is [::].
func ownAddress(addr string, listening net.Addr) string {
	host, _, _ := net.SplitHostPort(addr) // options.check has checked it
	_, port, _ := net.SplitHostPort(listening.String())
	if _, err := netip.ParseAddr(host); err != nil && host != "" {
		return listening.String()
	}
	return reachable(net.JoinHostPort(host, port))
}

// hostPort matches a Host header: a name or an address, IPv6 in brackets, with an optional port.
var hostPort = regexp.MustCompile(`^(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(:[0-9]*)?$`)

// answersTo returns whether requests with this Host header are answered.
func (h hosts) answersTo(header string) bool {
	parts := hostPort.FindStringSubmatch(header)
	if parts == nil {
		return false
	}
	name := oneSpelling(parts[1])
	ip, err := netip.ParseAddr(name)
	return err == nil && ip.IsLoopback() || name == "localhost" || strings.HasSuffix(name, ".localhost") || h[name]
}

// oneSpelling returns the canonical spelling of a name or an address.
func oneSpelling(host string) string {
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().WithZone("").String()
	}
	return host
}

// onlyKnown answers requests to unknown hosts with 421 Misdirected Request.
func (h hosts) onlyKnown(log *slog.Logger, next http.Handler) http.Handler {
	misdirected := rest.Handler(func() *slog.Logger { return log }, func(_ http.ResponseWriter, r *http.Request) error {
		return rest.NewProblem(http.StatusMisdirectedRequest, fmt.Sprintf(
			"this harness does not answer to the host %q: use localhost or 127.0.0.1, or add the name to HARNESS_HOSTS or --hosts to allow it", oneline.Of(r.Host, 255)))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.answersTo(r.Host) {
			misdirected(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}
