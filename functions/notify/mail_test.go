package notify

import (
	"context"
	"io"
	"net"
	"net/mail"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/functiontest"
	"example.com/orders/functions/internal/mysqltest"
	"example.com/orders/functions/internal/porttest"
)

// received is a mail as a relay gets it.
type received struct{ from, to, text string }

// relay is a mail server on 127.0.0.1 that keeps what it takes.
type relay struct {
	listener net.Listener
	sessions sync.WaitGroup

	mu sync.Mutex
	// replies are given instead of the usual ones: by the verb of a command, by "greeting", and by "end of data". An
	// empty one cuts the connection.
	replies map[string]string
	mails   []received
}

func startRelay(t *testing.T) *relay {
	t.Helper()
	r := &relay{}
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
				return // closed, at the end of the test
			}
			r.sessions.Go(func() { r.serve(textproto.NewConn(conn)) })
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

// answer sets the replies, by the step of a session.
func (r *relay) answer(replies map[string]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replies = replies
}

// empty forgets the mails that were taken.
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

// serve talks SMTP until the client leaves or the reply to a step says to cut the connection.
func (r *relay) serve(conn *textproto.Conn) {
	defer func() { _ = conn.Close() }() // the client may have been first
	reply := func(step, usual string) (goOn bool) {
		r.mu.Lock()
		text, ok := r.replies[step]
		r.mu.Unlock()
		if !ok {
			text = usual
		}
		return text != "" && conn.PrintfLine("%s", text) == nil
	}
	if !reply("greeting", "220 relay.example.com") {
		return
	}
	var m received
	for {
		line, err := conn.ReadLine()
		if err != nil {
			return
		}
		verb, argument, _ := strings.Cut(line, " ")
		switch verb {
		case "MAIL":
			m = received{from: argument}
		case "RCPT":
			m.to = argument
		case "DATA":
			if !reply("DATA", "354 go on") {
				return
			}
			text, err := io.ReadAll(conn.DotReader())
			if err != nil {
				return
			}
			m.text = string(text)
			r.mu.Lock()
			if _, refused := r.replies["end of data"]; !refused {
				r.mails = append(r.mails, m)
			}
			r.mu.Unlock()
			verb = "end of data"
		}
		if !reply(verb, "250 ok") || verb == "QUIT" {
			return
		}
	}
}

// startMailing starts the function as it is deployed with a relay.
func startMailing(t *testing.T) (*Function, *relay) {
	t.Helper()
	r := startRelay(t)
	return functiontest.Start(t, New(), map[string]string{"SMTP_ADDR": r.addr(), "SMTP_FROM": "Orders <shop@example.com>"}), r
}

func TestNotifySendsAMail(t *testing.T) {
	f, r := startMailing(t)
	orderID := functiontest.OrderID()
	e := functiontest.Event(t, failed(orderID), 2)

	require.NoError(t, f.Handle(t.Context(), e))
	require.NoError(t, f.Handle(t.Context(), e))

	mails := r.taken()
	require.Len(t, mails, 1)
	assert.Equal(t, "FROM:<shop@example.com>", mails[0].from)
	assert.Equal(t, "TO:<alice@example.com>", mails[0].to)
	m, err := mail.ReadMessage(strings.NewReader(mails[0].text))
	require.NoError(t, err)
	assert.Equal(t, mail.Header{
		"From":         {"shop@example.com"},
		"To":           {"alice@example.com"},
		"Subject":      {"Your order is FAILED (out_of_stock)"},
		"Message-Id":   {"<" + orderID + ".2@orders.example.com>"},
		"Date":         {e.Time().Format(time.RFC1123Z)},
		"Mime-Version": {"1.0"},
		"Content-Type": {"text/plain; charset=utf-8"},
	}, m.Header)
	body, err := io.ReadAll(m.Body)
	require.NoError(t, err)
	assert.Equal(t, "Your order "+orderID+" is FAILED (out_of_stock).\n", string(body))
}

func TestNotifySendsFromTheDefaultAddress(t *testing.T) {
	r := startRelay(t)
	f := functiontest.Start(t, New(), map[string]string{"SMTP_ADDR": r.addr()})

	require.NoError(t, f.Handle(t.Context(), functiontest.Event(t, confirmed(functiontest.OrderID()), 2)))

	require.Len(t, r.taken(), 1)
	assert.Equal(t, "FROM:<orders@example.com>", r.taken()[0].from)
}

func TestNotifyRetriesWhatTheRelayRefusesForNow(t *testing.T) {
	f, r := startMailing(t)
	for name, replies := range map[string]map[string]string{
		"busy at the greeting":      {"greeting": "421 come back later"},
		"sender deferred":           {"MAIL": "451 come back later"},
		"recipient deferred":        {"RCPT": "450 greylisted"},
		"data deferred":             {"DATA": "452 no room"},
		"mail deferred":             {"end of data": "451 come back later"},
		"cut at the greeting":       {"greeting": ""},
		"cut before the mail is in": {"end of data": ""},
		"no SMTP at all":            {"greeting": "HTTP/1.1 400 Bad Request"},
	} {
		t.Run(name, func(t *testing.T) {
			r.empty()
			r.answer(replies)
			e := functiontest.Event(t, confirmed(functiontest.OrderID()), 2)
			assertRetried(t, f.Handle(t.Context(), e))
			assert.Equal(t, notification{status: "CLAIMED", attempts: 1}, rowOf(t, f.DB, e))
			assert.Empty(t, r.taken())

			r.answer(nil)
			require.NoError(t, f.Handle(t.Context(), e))

			assert.Len(t, r.taken(), 1)
			assert.Equal(t, notification{status: "SENT", attempts: 2, sent: true}, rowOf(t, f.DB, e))
		})
	}
}

func TestNotifyRetriesWhileTheRelayIsAway(t *testing.T) {
	f := functiontest.Start(t, New(), map[string]string{"SMTP_ADDR": porttest.Address(t)})
	assertRetried(t, f.Handle(t.Context(), functiontest.Event(t, confirmed(functiontest.OrderID()), 2)))
}

func TestNotifyGivesUpWhatTheRelayRefusesForGood(t *testing.T) {
	f, r := startMailing(t)
	for name, replies := range map[string]map[string]string{
		"unknown recipient": {"RCPT": "550 5.1.1 no such mailbox"},
		"refused content":   {"end of data": "554 5.7.1 refused"},
	} {
		t.Run(name, func(t *testing.T) {
			r.empty()
			r.answer(replies)
			e := functiontest.Event(t, confirmed(functiontest.OrderID()), 2)
			functiontest.AssertPoison(t, f.Handle(t.Context(), e))
			assert.Equal(t, notification{status: "CLAIMED", attempts: 1}, rowOf(t, f.DB, e), "it was not told")
			assert.Zero(t, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM conversations WHERE claim IS NOT NULL"))

			r.answer(nil)
			require.NoError(t, f.Handle(t.Context(), e), "the dead letter can be replayed")

			assert.Len(t, r.taken(), 1)
			assert.Equal(t, notification{status: "SENT", attempts: 2, sent: true}, rowOf(t, f.DB, e))
		})
	}
}

func TestAMailThatWasTakenIsSentWhateverTheFarewell(t *testing.T) {
	f, r := startMailing(t)
	for name, farewell := range map[string]string{"refused": "500 what", "cut": ""} {
		t.Run(name, func(t *testing.T) {
			r.empty()
			r.answer(map[string]string{"QUIT": farewell})
			e := functiontest.Event(t, confirmed(functiontest.OrderID()), 2)

			require.NoError(t, f.Handle(t.Context(), e))

			assert.Len(t, r.taken(), 1)
			assert.Equal(t, notification{status: "SENT", attempts: 1, sent: true}, rowOf(t, f.DB, e))
		})
	}
}

func TestASilentRelayHoldsADeliveryNoLongerThanItsTime(t *testing.T) {
	var listener net.Listener
	porttest.Try(t, func(port int) (err error) {
		listener, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))) // and never accepts
		return err
	})
	defer func() { assert.NoError(t, listener.Close()) }()
	f := functiontest.Start(t, New(), map[string]string{"SMTP_ADDR": listener.Addr().String()})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()

	assertRetried(t, f.Handle(ctx, functiontest.Event(t, confirmed(functiontest.OrderID()), 2)))

	assert.Zero(t, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM conversations WHERE claim IS NOT NULL"), "the claim is given back all the same")
}
