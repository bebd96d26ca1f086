package console

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"example.com/orders/functions/internal/observe/health"
)

// Bounds of the streams. A view is read once for all its watchers, at most for a share of 1/readShare of the time, and at
// most within readWithin.
const (
	maxClients = 128
	maxOfOne   = 32 // clients of one address
	maxViews   = 6  // of one client
	backlogged = 16
	readShare  = 10
	readWithin = 20 * time.Second
)

// view is a live part of a page.
type view struct {
	every time.Duration
	read  func(context.Context) (any, error)
}

// hub reads views while they are watched, and sends changes to their watchers.
type hub struct {
	find func(name string) (view, bool)

	mu      sync.Mutex
	closed  bool
	clients map[string][]*client // by address, the newest last
	feeds   map[string]*feed
	ended   sync.WaitGroup
}

// feed is a watched view.
type feed struct {
	cancel   context.CancelFunc
	wake     chan struct{}
	last     []byte
	watchers []*client
}

// client is one stream.
type client struct {
	messages chan []byte // closed when the client is dropped
	address  string
	names    []string
	gone     bool
}

func newHub(find func(string) (view, bool)) *hub {
	return &hub{find: find, clients: map[string][]*client{}, feeds: map[string]*feed{}}
}

// message is the message about a view: its contents, or the error.
type message struct {
	View  string `json:"view"`
	Data  any    `json:"data,omitempty"`
	Error string `json:"error,omitempty"`
}

// join adds a client at an address that watches views; it returns nil if the hub is closed. The first messages are the
// latest known ones. If the address has too many clients, its oldest is dropped; if all addresses together have too many,
// the oldest of the address with the most. So the streams of others cannot lock anybody out.
func (h *hub) join(address string, names []string) *client {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	all, most := 0, address
	for other, clients := range h.clients {
		all += len(clients)
		if len(clients) > len(h.clients[most]) {
			most = other
		}
	}
	if len(h.clients[address]) >= maxOfOne {
		h.drop(h.clients[address][0])
	} else if all >= maxClients {
		h.drop(h.clients[most][0])
	}
	c := &client{messages: make(chan []byte, backlogged), address: address, names: names}
	h.clients[address] = append(h.clients[address], c)
	for _, name := range names {
		f, ok := h.feeds[name]
		if !ok {
			f = h.open(name)
		}
		f.watchers = append(f.watchers, c)
		if f.last != nil {
			c.messages <- f.last // there is room: a client has at most maxViews
		}
	}
	return c
}

// open starts to read a view.
func (h *hub) open(name string) *feed {
	ctx, cancel := context.WithCancel(context.Background())
	f := &feed{cancel: cancel, wake: make(chan struct{}, 1)}
	h.feeds[name] = f
	v, _ := h.find(name)
	h.ended.Go(func() { h.run(ctx, name, v, f) })
	return f
}

// leave removes a client; a view without watchers is no longer read.
func (h *hub) leave(c *client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop(c)
}

// drop is leave for a caller that holds mu.
func (h *hub) drop(c *client) {
	if c.gone {
		return
	}
	c.gone = true
	h.clients[c.address] = slices.DeleteFunc(h.clients[c.address], func(other *client) bool { return other == c })
	if len(h.clients[c.address]) == 0 {
		delete(h.clients, c.address)
	}
	for _, name := range c.names {
		f := h.feeds[name]
		f.watchers = slices.DeleteFunc(f.watchers, func(other *client) bool { return other == c })
		if len(f.watchers) == 0 {
			f.cancel()
			delete(h.feeds, name)
		}
	}
	close(c.messages)
}

// run reads a view until ctx ends.
func (h *hub) run(ctx context.Context, name string, v view, f *feed) {
	for {
		begin := time.Now()
		text, err := read(ctx, name, v)
		if ctx.Err() != nil {
			return
		}
		h.broadcast(f, text)
		pause := time.NewTimer(health.Pause(v.every, readShare, time.Since(begin), err))
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		case <-f.wake:
			pause.Stop()
		}
	}
}

// read returns the message of a view, and the error in it.
func read(ctx context.Context, name string, v view) (text []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	m := message{View: name}
	if m.Data, err = v.read(ctx); err == nil {
		if text, err = json.Marshal(m); err == nil {
			return text, nil
		}
	}
	text, _ = json.Marshal(message{View: name, Error: err.Error()}) // encoding strings cannot fail
	return text, err
}

// broadcast sends a message to the watchers of a view, unless they have it. A client that has not taken earlier ones is
// dropped: it reconnects, and starts with the latest state.
func (h *hub) broadcast(f *feed, text []byte) {
	h.mu.Lock()
	if bytes.Equal(f.last, text) {
		h.mu.Unlock()
		return
	}
	f.last = text
	var slow []*client
	for _, c := range f.watchers {
		select {
		case c.messages <- text:
		default:
			slow = append(slow, c)
		}
	}
	h.mu.Unlock()
	for _, c := range slow {
		h.leave(c)
	}
}

// refresh makes the views of a kind be read at once, since their contents were changed.
func (h *hub) refresh(kind string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, f := range h.feeds {
		if kindOf(name) == kind {
			select {
			case f.wake <- struct{}{}:
			default: // a read is pending
			}
		}
	}
}

// close ends all streams and waits until no view is being read.
func (h *hub) close() {
	h.mu.Lock()
	h.closed = true
	var all []*client
	for _, f := range h.feeds {
		all = append(all, f.watchers...)
	}
	h.mu.Unlock()
	for _, c := range all {
		h.leave(c)
	}
	h.ended.Wait()
}
