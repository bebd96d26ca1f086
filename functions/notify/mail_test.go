package notify

import (
	"io"
	"net"
	"net/mail"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/porttest"
)

// startMailing starts the function, configured with a relay.
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

func TestNotifyRetriesTemporaryRefusals(t *testing.T) {
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

func TestNotifyRetriesWhileTheRelayIsDown(t *testing.T) {
	f := functiontest.Start(t, New(), map[string]string{"SMTP_ADDR": porttest.Address(t)})
	assertRetried(t, f.Handle(t.Context(), functiontest.Event(t, confirmed(functiontest.OrderID()), 2)))
}

func TestNotifyMakesPermanentRefusalsPoison(t *testing.T) {
	f, r := startMailing(t)
	for name, replies := range map[string]map[string]string{
		"unknown recipient": {"RCPT": "550 5.1.1 <alice@example.com>: no such mailbox"},
		"refused content":   {"end of data": "554 5.7.1 refused"},
	} {
		t.Run(name, func(t *testing.T) {
			r.empty()
			r.answer(replies)
			e := functiontest.Event(t, confirmed(functiontest.OrderID()), 2)
			err := f.Handle(t.Context(), e)
			functiontest.AssertPoison(t, err)
			assert.NotContains(t, err.Error(), customer, "relays quote the address, and the error is logged and kept in the dead letter")
			assert.Equal(t, notification{status: "CLAIMED", attempts: 1}, rowOf(t, f.DB, e), "it was not sent")
			assert.Zero(t, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM conversations WHERE claim IS NOT NULL"))

			r.answer(nil)
			require.NoError(t, f.Handle(t.Context(), e), "the dead letter can be replayed")

			assert.Len(t, r.taken(), 1)
			assert.Equal(t, notification{status: "SENT", attempts: 2, sent: true}, rowOf(t, f.DB, e))
		})
	}
}

func TestAnAcceptedMailIsSentEvenIfQuitFails(t *testing.T) {
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
	f.sendTimeout = 300 * time.Millisecond

	assertRetried(t, f.Handle(t.Context(), functiontest.Event(t, confirmed(functiontest.OrderID()), 2)))

	assert.Zero(t, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM conversations WHERE claim IS NOT NULL"), "the claim is released nevertheless")
}

func TestTheMailOfADeclinedOrderSaysThatThePaymentWasDeclined(t *testing.T) {
	f, box := start(t)
	fact := failed(functiontest.OrderID())
	fact.Reason = "card_declined" // finalize-order takes it from payment.declined

	require.NoError(t, f.Handle(t.Context(), functiontest.Event(t, fact, 2)))

	require.Len(t, box.mails, 1)
	assert.Equal(t, customer, box.mails[0].To)
	assert.Equal(t, "Your order is FAILED (card_declined)", box.mails[0].Subject)
	assert.Equal(t, "Your order "+fact.OrderID+" is FAILED (card_declined).\r\n", box.mails[0].Body)
}
