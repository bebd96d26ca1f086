package notify

import (
	"crypto/tls"
	"io"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"

	"example.com/orders/functions/internal/testkit/porttest"
)

// received is a mail that a relay received, with its connection's properties.
type received struct {
	from, to, text string
	login          string
	secure         bool
}

// relay is a mail server on 127.0.0.1 that keeps the mails it receives.
type relay struct {
	listener net.Listener
	sessions sync.WaitGroup

	tls        *tls.Config // for STARTTLS, or from the start if implicit; nil without TLS
	implicit   bool
	stripped   bool     // STARTTLS is not offered
	extensions []string // of EHLO, besides STARTTLS
	login      string   // the accepted login, as AUTH PLAIN encodes it

	mu sync.Mutex
	// replies replaces the usual replies: by the verb of a command, by "greeting", and by "end of data". An empty reply cuts
	// the connection.
	replies map[string]string
	mails   []received
}

func startRelay(t *testing.T) *relay {
	t.Helper()
	return (&relay{}).start(t)
}

func (r *relay) start(t *testing.T) *relay {
	t.Helper()
	porttest.Try(t, func(port int) (err error) {
		r.listener, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		return err
	})
	accepting := make(chan struct{})
	go func() {
		defer close(accepting)
		for {
			conn, err := r.listener.Accept()
			if err != nil {
				return // closed at the end of the test
			}
			if r.implicit {
				conn = tls.Server(conn, r.tls)
			}
			r.sessions.Go(func() { r.serve(conn) })
		}
	}()
	t.Cleanup(func() {
		assert.NoError(t, r.listener.Close())
		<-accepting
		r.sessions.Wait()
	})
	return r
}

func (r *relay) addr() string { return r.listener.Addr().String() }

// answer sets the replies by step of the session.
func (r *relay) answer(replies map[string]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replies = replies
}

// empty deletes the received mails.
func (r *relay) empty() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mails = nil
}

func (r *relay) taken() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]received(nil), r.mails...)
}

// serve speaks SMTP until the client leaves or a reply cuts the connection.
func (r *relay) serve(conn net.Conn) {
	text := textproto.NewConn(conn)
	defer func() { _ = text.Close() }() // the client may have closed it first
	reply := func(step, usual string) (goOn bool) {
		r.mu.Lock()
		line, ok := r.replies[step]
		r.mu.Unlock()
		if !ok {
			line = usual
		}
		return line != "" && text.PrintfLine("%s", line) == nil
	}
	if !reply("greeting", "220 relay.example.com") {
		return
	}
	var m received
	secure := r.implicit
	for {
		line, err := text.ReadLine()
		if err != nil {
			return
		}
		verb, argument, _ := strings.Cut(line, " ")
		usual := "250 ok"
		switch verb {
		case "EHLO":
			says := append([]string{"250-relay.example.com"}, r.extensions...)
			if r.tls != nil && !secure && !r.stripped {
				says = append(says, "STARTTLS")
			}
			usual = strings.Join(says, "\r\n250-") + "\r\n250 HELP"
		case "STARTTLS":
			if !reply(verb, "220 go on") {
				return
			}
			upgraded := tls.Server(conn, r.tls)
			text, secure = textproto.NewConn(upgraded), true
			continue
		case "AUTH":
			usual = "535 5.7.8 authentication failed"
			if secure && argument == "PLAIN "+r.login {
				usual = "235 2.7.0 welcome"
			}
			m.login = argument
		case "MAIL":
			m = received{from: argument, login: m.login, secure: secure}
		case "RCPT":
			m.to = argument
		case "DATA":
			if !reply("DATA", "354 go on") {
				return
			}
			content, err := io.ReadAll(text.DotReader())
			if err != nil {
				return
			}
			m.text = string(content)
			r.mu.Lock()
			if _, refused := r.replies["end of data"]; !refused {
				r.mails = append(r.mails, m)
			}
			r.mu.Unlock()
			verb = "end of data"
		}
		if !reply(verb, usual) || verb == "QUIT" {
			return
		}
	}
}
