package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"example.com/orders/functions/internal/web/certificate"
	"example.com/orders/functions/internal/web/direct"
)

// doors are the ports of a harness.
type doors struct {
	public, ops net.Listener // ops is nil without --ops-addr
	local       bool         // only this machine reaches the public one
	pair        *certificate.Pair
	log         *slog.Logger

	opsServer *http.Server // once it serves
}

// openDoors listens on the addresses, which it refuses if they would be open to a network. Nobody is answered before serve.
func openDoors(o options, log *slog.Logger) (d *doors, err error) {
	d = &doors{log: log}
	if o.certFile != "" {
		if d.pair, err = certificate.Open(o.certFile, o.keyFile, log); err != nil {
			return nil, usage(fmt.Errorf("--tls-cert: %w", err))
		}
	}
	if d.public, err = listen(o.addr, "--addr"); err != nil {
		return nil, err
	}
	d.local = isLocal(d.public.Addr())
	if err := o.checkOpen(d.public.Addr()); err != nil {
		d.close()
		return nil, err
	}
	if o.opsAddr != "" {
		if d.ops, err = listen(o.opsAddr, "--ops-addr"); err != nil {
			d.close()
			return nil, err
		}
	}
	return d, nil
}

func listen(addr, flag string) (net.Listener, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%w: stop the program that listens there, or give another address with %s", err, flag)
	}
	return listener, nil
}

// close closes the listeners that no server has closed.
func (d *doors) close() {
	for _, listener := range []net.Listener{d.public, d.ops} {
		if listener != nil {
			_ = listener.Close()
		}
	}
}

// hosts are the names that both ports answer to: those of the options, of the addresses and of the certificate.
func (d *doors) hosts(o options) hosts {
	all := o.hosts.with(o.addr, d.public.Addr().String())
	if d.ops != nil {
		all = all.with(o.opsAddr, d.ops.Addr().String())
	}
	if d.pair != nil {
		for _, name := range d.pair.Names() {
			all[oneSpelling(name)] = true
		}
	}
	return all
}

// origin returns the URL at which this process reaches itself.
func (d *doors) origin(o options) string {
	addr := ownAddress(o.addr, d.public.Addr())
	if d.pair == nil {
		return "http://" + addr
	}
	direct.Trust(addr, d.pair.Self())
	return "https://" + addr
}

// opsAddress returns the address of the second port, empty without one.
func (d *doors) opsAddress() string {
	if d.ops == nil {
		return ""
	}
	return d.ops.Addr().String()
}

// serve starts to answer on both ports, and returns the server of the public one. What ends a server is sent to failed.
func (d *doors) serve(h *harness, o options, failed chan<- error) *http.Server {
	routes := h.publicRoutes()
	if d.ops == nil && d.local && o.environ[oidcIssuer] == "" {
		routes = h.routes(o.pprof)
	}
	if d.ops != nil {
		d.opsServer = newHTTPServer(h.opsRoutes(o.pprof))
		go func() { failed <- d.answer(d.opsServer, paced{d.ops, takeWithin}) }()
	}
	server := newHTTPServer(routes)
	capped := &connections{most: o.connections, spare: spareConnections, metrics: h.metrics.Metrics, log: h.log}
	capped.guard(server)
	go func() { failed <- d.answer(server, capped.listen(paced{d.public, takeWithin})) }()
	return server
}

func (d *doors) answer(server *http.Server, listener net.Listener) error {
	server.ErrorLog = slog.NewLogLogger(d.log.Handler(), slog.LevelWarn) // such as failed handshakes
	if d.pair == nil {
		return server.Serve(listener)
	}
	server.TLSConfig = d.pair.Config()
	return server.ServeTLS(listener, "", "")
}

// endOps ends the second port.
func (d *doors) endOps() error {
	if d.opsServer == nil {
		return nil
	}
	_, err := endHTTP(context.Background(), d.opsServer, 0)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
