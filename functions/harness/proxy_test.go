package main

import (
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/porttest"
)

// proxy sits between a harness and a server. It can reset the connections through it, and redirect new ones to another
// server.
type proxy struct {
	address  string
	listener net.Listener

	mu     sync.Mutex
	target string
	open   map[net.Conn]bool // both ends of each
}

// newProxy listens until the test ends; it forwards connections to target, an address or the path of a socket, which need
// not be listening yet.
func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	p := &proxy{address: porttest.Address(t), target: target, open: map[net.Conn]bool{}}
	var err error
	p.listener, err = net.Listen("tcp", p.address)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, p.listener.Close())
		p.reset()
	})
	go func() {
		for {
			client, err := p.listener.Accept()
			if err != nil {
				return // closed
			}
			go p.serve(client)
		}
	}()
	return p
}

// lead redirects new connections to another target; open ones stay.
func (p *proxy) lead(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

func (p *proxy) serve(client net.Conn) {
	p.mu.Lock()
	network, target := "tcp", p.target
	p.mu.Unlock()
	if filepath.IsAbs(target) {
		network = "unix"
	}
	server, err := net.Dial(network, target)
	if err != nil {
		_ = client.Close() // as close to a refused connection as possible
		return
	}
	p.mu.Lock()
	p.open[client], p.open[server] = true, true
	p.mu.Unlock()
	var both sync.WaitGroup
	for from, to := range map[net.Conn]net.Conn{client: server, server: client} {
		both.Go(func() {
			_, _ = io.Copy(to, from) // until either end closes it
			_, _ = from.Close(), to.Close()
		})
	}
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, client)
	delete(p.open, server)
}

// reset resets all connections at once, like a router that has lost its state: both sides get RST.
func (p *proxy) reset() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		if c, ok := c.(*net.TCPConn); ok {
			_ = c.SetLinger(0) // it may be closed already
		}
		_ = c.Close()
		n++
	}
	return n
}
