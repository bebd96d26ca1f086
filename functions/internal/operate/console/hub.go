package console

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"example.com/orders/functions/internal/observe/health"
)

// Bounds of the streams. A view is read once for all its watchers, at most for a share of 1/readShare of the time, and at
// most within readWithin. Its watchers learn of a read that hangs long before that.
const (
	maxClients = 128
	maxOfOne   = 32 // clients of one address
	maxViews   = 8  // of one client
	backlogged = 16
	readShare  = 10
	readWithin = 20 * time.Second
)

// view is a live part of a page.
type view struct {
	every time.Duration
	read  func(context.Context) (any, error)
	// from has the servers that it is read from.
	from []string
	// within is how long a read usually takes at most; health.Within if zero.
	within time.Duration
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
	data     []byte // the latest contents; nil before the first
	failure  []byte // why they are old; nil while they are not
	readAt   time.Time
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

// message is the message about a view: its contents, or why they cannot be read and from when the latest are.
type message struct {
	View  string   `json:"view"`
	From  []string `json:"from,omitempty"`
	Data  any      `json:"data,omitempty"`
	Error string   `json:"error,omitempty"`
	At    string   `json:"at,omitempty"`
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
		for _, text := range [][]byte{f.data, f.failure} {
			if text != nil {
				c.messages <- text // there is room: a client has at most maxViews
			}
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
		text, err := h.read(ctx, name, v, f)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			h.fail(name, v, f, err)
		} else {
			h.publish(f, text, begin)
		}
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

// read returns the message with the contents of a view. If that takes too long, it tells the watchers and goes on: another
// read would hang as well.
func (h *hub) read(ctx context.Context, name string, v view, f *feed) (text []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		m := message{View: name, From: v.from}
		if m.Data, err = v.read(ctx); err == nil {
			text, err = json.Marshal(m)
		}
	}()
	late := time.NewTimer(cmp.Or(v.within, health.Within))
	defer late.Stop()
	select {
	case <-ended:
		return text, err
	case <-late.C:
		h.fail(name, v, f, health.ErrHangs)
	}
	<-ended
	if err != nil && ctx.Err() != nil {
		err = health.ErrHangs
	}
	return text, err
}

// publish sends the contents of a view to its watchers, unless they have them.
func (h *hub) publish(f *feed, text []byte, readAt time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f.readAt = readAt
	if f.failure != nil || !bytes.Equal(f.data, text) {
		f.data, f.failure = text, nil
		h.broadcast(f, text)
	}
}

// fail tells the watchers of a view why its contents are old, unless they know.
func (h *hub) fail(name string, v view, f *feed, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := message{View: name, From: v.from, Error: err.Error()}
	if !f.readAt.IsZero() {
		m.At = moment(f.readAt)
	}
	text, _ := json.Marshal(m) // encoding strings cannot fail
	if !bytes.Equal(f.failure, text) {
		f.failure = text
		h.broadcast(f, text)
	}
}

// broadcast sends a message to the watchers of a view, for a caller that holds mu. A client that has not taken earlier ones is
// dropped: it reconnects, and starts with the latest state.
func (h *hub) broadcast(f *feed, text []byte) {
	for _, c := range slices.Clone(f.watchers) {
		select {
		case c.messages <- text:
		default:
			h.drop(c)
		}
	}
}

// watched returns whether a view has watchers.
func (h *hub) watched(name string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.feeds[name] != nil
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
