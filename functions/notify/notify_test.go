package notify

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/servertest"
	"example.com/orders/sql/transaction"
)

// mailbox is a Mailer that keeps the mails it is given.
type mailbox struct {
	mu    sync.Mutex
	mails []Mail
	// before runs ahead of a mail, and its error refuses the mail; after runs once the mail is taken.
	before func(Mail) error
	after  func(Mail)
}

func (m *mailbox) Send(_ context.Context, sent Mail) error {
	if m.before != nil {
		if err := m.before(sent); err != nil {
			return err
		}
	}
	m.mu.Lock()
	m.mails = append(m.mails, sent)
	m.mu.Unlock()
	if m.after != nil {
		m.after(sent)
	}
	return nil
}

func (m *mailbox) subjects() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	subjects := make([]string, len(m.mails))
	for i, sent := range m.mails {
		subjects[i] = sent.Subject
	}
	return subjects
}

// start starts the function with a mailbox.
func start(t *testing.T) (*Function, *mailbox) {
	t.Helper()
	box := &mailbox{}
	f := New()
	f.Mailer = box
	return functiontest.Start(t, f, nil), box
}

const customer = "alice@example.com"

func confirmed(orderID string) events.OrderConfirmed {
	return events.OrderConfirmed{OrderID: orderID, CustomerEmail: customer, TotalAmount: 2598, CreatedAt: time.Now()}
}

func failed(orderID string) events.OrderFailed {
	return events.OrderFailed{OrderID: orderID, CustomerEmail: customer, Reason: events.ReasonOutOfStock, CreatedAt: time.Now()}
}

func canceled(orderID string) events.OrderCanceled {
	return events.OrderCanceled{OrderID: orderID, CustomerEmail: customer, PreviousStatus: events.StatusConfirmed, CreatedAt: time.Now()}
}

// notification is the row of an event.
type notification struct {
	status   string
	attempts int
	sent     bool
}

func rowOf(t *testing.T, db *sql.DB, e event.Event) (n notification) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(t.Context(),
		"SELECT status, attempts, sent_at IS NOT NULL FROM notifications WHERE source = ? AND event_id = ?", e.Source(), e.ID()).
		Scan(&n.status, &n.attempts, &n.sent))
	return n
}

func assertRetried(t *testing.T, err error) {
	t.Helper()
	assert.Equal(t, http.StatusServiceUnavailable, delivery.Status(err), "%v", err)
}

// expire ends the lease of a claim, as if its time had passed on the database's clock.
func expire(t *testing.T, db *sql.DB) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), "UPDATE conversations SET claimed_until = TIMESTAMPADD(SECOND, -1, NOW(6)) WHERE claim IS NOT NULL")
	require.NoError(t, err)
}

func TestNotifyLogsEachMail(t *testing.T) {
	var log bytes.Buffer
	f := New()
	f.Log = slog.New(slog.NewTextHandler(&log, nil))
	f = functiontest.Start(t, f, nil)
	confirmedID, failedID, canceledID := functiontest.OrderID(), functiontest.OrderID(), functiontest.OrderID()
	tests := map[string]struct {
		fact events.Data
		line string
	}{
		"confirmed": {confirmed(confirmedID), "Email to a…e@example.com: your order " + confirmedID + " is CONFIRMED"},
		"failed":    {failed(failedID), "Email to a…e@example.com: your order " + failedID + " is FAILED (out_of_stock)"},
		"canceled":  {canceled(canceledID), "Email to a…e@example.com: your order " + canceledID + " is CANCELED"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			log.Reset()
			e := functiontest.Event(t, test.fact, 2)

			require.NoError(t, f.Handle(t.Context(), e))

			assert.Contains(t, log.String(), fmt.Sprintf("msg=%q", test.line))
			for line := range strings.Lines(log.String()) {
				assert.Contains(t, line, "correlation_id="+functiontest.CorrelationID)
			}
			assert.Equal(t, notification{status: "SENT", attempts: 1, sent: true}, rowOf(t, f.DB, e))
			assert.Equal(t, 1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM notifications WHERE order_id = ?", e.Subject()))
		})
	}
}

func TestNotifySendsNothingToForgottenCustomers(t *testing.T) {
	f, box := start(t)
	fact := canceled(functiontest.OrderID())
	fact.CustomerEmail = events.Forgotten

	require.NoError(t, f.Handle(t.Context(), functiontest.Event(t, fact, 3)))

	assert.Empty(t, box.subjects())
	assert.Zero(t, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM notifications"))
}

func TestNotifySendsOnceWhenRedelivered(t *testing.T) {
	var log bytes.Buffer
	f, box := New(), &mailbox{}
	f.Mailer, f.Log = box, slog.New(slog.NewTextHandler(&log, nil))
	f = functiontest.Start(t, f, nil)
	e := functiontest.Event(t, confirmed(functiontest.OrderID()), 2)

	for range 3 {
		require.NoError(t, f.Handle(t.Context(), e))
	}

	assert.Equal(t, []string{"Your order is CONFIRMED"}, box.subjects())
	assert.Equal(t, 1, strings.Count(log.String(), "Email to "))
	assert.Equal(t, 1, strings.Count(log.String(), "outcome=sent"))
	assert.Equal(t, 2, strings.Count(log.String(), "outcome=duplicate"))
	assert.Equal(t, notification{status: "SENT", attempts: 1, sent: true}, rowOf(t, f.DB, e))
}

func TestNotifySendsOnceWhenRedeliveredMeanwhile(t *testing.T) {
	f, box := start(t)
	sending, goOn := make(chan struct{}), make(chan struct{})
	box.before = func(Mail) error {
		close(sending)
		<-goOn
		return nil
	}
	e := functiontest.Event(t, confirmed(functiontest.OrderID()), 2)
	first := make(chan error, 1)
	go func() { first <- f.Handle(context.Background(), e) }()
	<-sending

	var others sync.WaitGroup
	for range 4 {
		others.Go(func() {
			err := f.Handle(context.Background(), e)
			assertRetried(t, err)
			assert.ErrorIs(t, err, errBusy)
		})
	}
	others.Wait()
	close(goOn)
	require.NoError(t, <-first)
	require.NoError(t, f.Handle(t.Context(), e))

	assert.Equal(t, []string{"Your order is CONFIRMED"}, box.subjects())
	assert.Equal(t, notification{status: "SENT", attempts: 1, sent: true}, rowOf(t, f.DB, e))
}

func TestNotifySendsEachMailOnceUnderManyDeliveries(t *testing.T) {
	f, box := start(t)
	const orders, deliveries = 6, 4
	var all sync.WaitGroup
	for range orders {
		e := functiontest.Event(t, confirmed(functiontest.OrderID()), 2)
		for range deliveries {
			all.Go(func() {
				for { // retries like a KafkaSource; each attempt waits for a transaction of the database
					err := f.Handle(context.Background(), e)
					if err == nil {
						return
					}
					if !assert.ErrorIs(t, err, errBusy) {
						return
					}
				}
			})
		}
	}
	all.Wait()

	assert.Len(t, box.subjects(), orders)
	assert.Equal(t, orders, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM notifications WHERE status = 'SENT'"))
	assert.Zero(t, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM conversations WHERE claim IS NOT NULL"))
}

func TestNotifyRefusesUnknownAndMalformedEvents(t *testing.T) {
	orderID := functiontest.OrderID()
	rewritten := func(part, with string) func(event.Event) event.Event {
		return func(e event.Event) event.Event {
			e = e.Clone()
			e.DataEncoded = bytes.Replace(e.DataEncoded, []byte(part), []byte(with), 1)
			return e
		}
	}
	changed := func(change func(*event.Event)) func(event.Event) event.Event {
		return func(e event.Event) event.Event {
			e = e.Clone()
			change(&e)
			return e
		}
	}
	tests := map[string]func(event.Event) event.Event{
		"data that is not JSON":              functiontest.Broken,
		"an unknown version":                 rewritten(`"version":1`, `"version":2`),
		"an unknown field":                   rewritten(`"version":1`, `"version":1,"surprise":true`),
		"an address that adds a header":      rewritten(customer, `a@example.com\r\nBcc: eve@example.com`),
		"an address that adds a recipient":   rewritten(customer, `a@example.com> NOTIFY=NEVER,<eve@example.com`),
		"an address with a name":             rewritten(customer, `Alice <alice@example.com>`),
		"a type that it does not handle":     changed(func(e *event.Event) { e.SetType(events.OrderCreatedType) }),
		"a type that is not that of data":    changed(func(e *event.Event) { e.SetType(events.OrderFailedType) }),
		"an id that counts nothing":          changed(func(e *event.Event) { e.SetID("1") }),
		"an id that counts too far":          changed(func(e *event.Event) { e.SetID(orderID + "#4294967296") }),
		"the id of another order's fact":     changed(func(e *event.Event) { e.SetID(functiontest.OrderID() + "#2") }),
		"a source that counts other facts":   changed(func(e *event.Event) { e.SetSource(events.InventorySource) }),
		"a subject that is not that of data": changed(func(e *event.Event) { e.SetSubject(functiontest.OrderID()) }),
	}
	f, box := start(t)
	good := functiontest.Event(t, confirmed(orderID), 2)
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			functiontest.AssertPoison(t, f.Handle(t.Context(), spoil(good)))
		})
	}
	assert.Empty(t, box.subjects())
	assert.Zero(t, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM notifications"))
	require.NoError(t, f.Handle(t.Context(), good), "a refused mail blocks nothing")
}

func TestNotifyIsRetriedBeforeItHasStarted(t *testing.T) {
	assertRetried(t, New().Handle(t.Context(), functiontest.Event(t, confirmed(functiontest.OrderID()), 2)))
}

func TestNotifyRefusesSettingsThatCannotWork(t *testing.T) {
	for name, config := range map[string]map[string]string{
		"SMTP_ADDR": {"SMTP_ADDR": "mail.example.com"},
		"SMTP_FROM": {"SMTP_ADDR": "127.0.0.1:25", "SMTP_FROM": "orders@example.com\r\nBcc: eve@example.com"},
		"MYSQL_DSN": {},
	} {
		t.Run(name, func(t *testing.T) {
			f := New()
			require.ErrorContains(t, f.Start(t.Context(), config), name)
			require.NoError(t, f.Stop(t.Context()))
		})
	}
}

// permutations lists every order of the numbers from 0 to n-1.
func permutations(n int) [][]int {
	if n == 0 {
		return [][]int{{}}
	}
	var all [][]int
	for _, shorter := range permutations(n - 1) {
		for at := range n {
			all = append(all, slices.Insert(slices.Clone(shorter), at, n-1))
		}
	}
	return all
}

func TestNotifyEndsWithTheNewestNewsInEveryOrderOfArrival(t *testing.T) {
	f, box := start(t)
	subjects := []string{"Your order is CONFIRMED", "Your order is CANCELED", "Your order is FAILED (out_of_stock)"}
	for _, order := range permutations(len(subjects)) {
		t.Run(fmt.Sprint(order), func(t *testing.T) {
			orderID := functiontest.OrderID()
			facts := []event.Event{
				functiontest.Event(t, confirmed(orderID), 2), functiontest.Event(t, canceled(orderID), 3), functiontest.Event(t, failed(orderID), 4),
			}
			box.mails = nil
			newest := -1
			var want []string
			for _, i := range order {
				row := notification{status: "SUPPRESSED", attempts: 1}
				if i > newest {
					newest = i
					want = append(want, subjects[i])
					row = notification{status: "SENT", attempts: 1, sent: true}
				}

				require.NoError(t, f.Handle(t.Context(), facts[i]))

				assert.Equal(t, row, rowOf(t, f.DB, facts[i]))
			}
			for _, i := range order { // all events again
				require.NoError(t, f.Handle(t.Context(), facts[i]))
			}
			assert.Equal(t, want, box.subjects())
			assert.Equal(t, len(facts), mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM notifications WHERE order_id = ?", orderID))
		})
	}
}

func TestNotifySendsNewerNewsAfterTheOlderOnesInFlight(t *testing.T) {
	f, box := start(t)
	orderID := functiontest.OrderID()
	older, newer := functiontest.Event(t, confirmed(orderID), 2), functiontest.Event(t, canceled(orderID), 3)
	sending, goOn := make(chan struct{}), make(chan struct{})
	box.before = func(m Mail) error {
		if strings.HasSuffix(m.Subject, "CONFIRMED") {
			close(sending)
			<-goOn
		}
		return nil
	}
	answered := make(chan error, 1)
	go func() { answered <- f.Handle(context.Background(), older) }()
	<-sending

	assertRetried(t, f.Handle(t.Context(), newer))
	close(goOn)
	require.NoError(t, <-answered)
	require.NoError(t, f.Handle(t.Context(), newer))

	assert.Equal(t, []string{"Your order is CONFIRMED", "Your order is CANCELED"}, box.subjects())
}

func TestNotifySendsAgainAfterAFailedSend(t *testing.T) {
	f, box := start(t)
	e := functiontest.Event(t, confirmed(functiontest.OrderID()), 2)
	box.before = func(Mail) error { return errors.New("the relay is away") }
	assertRetried(t, f.Handle(t.Context(), e))
	assert.Equal(t, notification{status: "CLAIMED", attempts: 1}, rowOf(t, f.DB, e))

	box.before = nil
	require.NoError(t, f.Handle(t.Context(), e), "the claim was released, so the retry need not wait for its lease")

	assert.Equal(t, []string{"Your order is CONFIRMED"}, box.subjects())
	assert.Equal(t, notification{status: "SENT", attempts: 2, sent: true}, rowOf(t, f.DB, e))
}

func TestNotifySuppressesNewsThatWereOvertakenBeforeTheyWereSent(t *testing.T) {
	f, box := start(t)
	orderID := functiontest.OrderID()
	older, newer := functiontest.Event(t, confirmed(orderID), 2), functiontest.Event(t, canceled(orderID), 3)
	box.before = func(Mail) error { return errors.New("the relay is away") }
	assertRetried(t, f.Handle(t.Context(), older))
	box.before = nil

	require.NoError(t, f.Handle(t.Context(), newer))
	require.NoError(t, f.Handle(t.Context(), older))

	assert.Equal(t, []string{"Your order is CANCELED"}, box.subjects())
	assert.Equal(t, notification{status: "SUPPRESSED", attempts: 2}, rowOf(t, f.DB, older))
}

func TestNotifyMarksWhatWasSentThoughTheDeliveryHasEnded(t *testing.T) {
	f, box := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	box.after = func(Mail) { cancel() }
	e := functiontest.Event(t, confirmed(functiontest.OrderID()), 2)

	require.NoError(t, functiontest.Together(ctx, f, e)[0])
	require.NoError(t, f.Handle(t.Context(), e))

	assert.Len(t, box.subjects(), 1)
	assert.Equal(t, notification{status: "SENT", attempts: 1, sent: true}, rowOf(t, f.DB, e))
}

func TestNotifyMarksWhatWasSentThoughTheMarkingConnectionIsKilled(t *testing.T) {
	server := mysqltest.Server(t)
	f, box := New(), &mailbox{}
	f.Mailer, f.DB = box, mysqltest.Pool(t, server, schema.Notifications)
	f = functiontest.Start(t, f, nil)
	e := functiontest.Event(t, confirmed(functiontest.OrderID()), 2)
	killed := make(chan error, 1)
	box.after = func(Mail) {
		// The mark waits for the row that is locked here; then its connection is killed.
		other := mysqltest.Pool(t, server, schema.Notifications)
		lock, err := other.BeginTx(t.Context(), transaction.ReadCommitted)
		require.NoError(t, err)
		_, err = lock.ExecContext(t.Context(), "UPDATE conversations SET version = version + 1")
		require.NoError(t, err)
		go func() { killed <- errors.Join(killMark(t.Context(), other), lock.Rollback()) }()
	}

	require.NoError(t, f.Handle(t.Context(), e))
	require.NoError(t, <-killed)
	require.NoError(t, f.Handle(t.Context(), e))

	assert.Len(t, box.subjects(), 1)
	assert.Equal(t, notification{status: "SENT", attempts: 1, sent: true}, rowOf(t, f.DB, e))
}

// killMark waits until a connection marks a conversation in the schema of db, and kills it.
func killMark(ctx context.Context, db *sql.DB) error {
	for {
		killed, err := servertest.Cut(ctx, db, func(s servertest.Session) bool { return strings.Contains(s.Statement, "name: EndConversations ") })
		if killed > 0 || err != nil {
			return err
		}
	}
}

func TestNotifySendsAgainWithTheSameMessageIDAfterItDiedBetweenSendAndMark(t *testing.T) {
	server := mysqltest.Server(t)
	dying, box := New(), &mailbox{}
	dying.Mailer, dying.DB = box, mysqltest.Pool(t, server, schema.Notifications)
	dying = functiontest.Start(t, dying, nil)
	// A dead process can no longer mark anything.
	box.after = func(Mail) { assert.NoError(t, dying.DB.Close()) }
	e := functiontest.Event(t, confirmed(functiontest.OrderID()), 2)
	assertRetried(t, dying.Handle(t.Context(), e))
	require.Len(t, box.subjects(), 1)
	box.after = nil

	f := New()
	f.Mailer, f.DB = box, mysqltest.Pool(t, server, schema.Notifications)
	f = functiontest.Start(t, f, nil)
	assertRetried(t, f.Handle(t.Context(), e))
	require.Len(t, box.subjects(), 1, "the dead one's claim holds until its lease ends")
	assert.Equal(t, notification{status: "CLAIMED", attempts: 1}, rowOf(t, f.DB, e))
	expire(t, f.DB)
	require.NoError(t, f.Handle(t.Context(), e))
	require.NoError(t, f.Handle(t.Context(), e))

	require.Len(t, box.mails, 2, "at least once: twice here, and then no more")
	assert.Equal(t, box.mails[0], box.mails[1])
	assert.Equal(t, notification{status: "SENT", attempts: 2, sent: true}, rowOf(t, f.DB, e))
}

func TestALeaseOutlastsASend(t *testing.T) {
	assert.Greater(t, lease, sendTimeout+5*time.Second, "a send, and the mark after it")
}

func TestALeaseIsMeasuredByTheDatabasesClock(t *testing.T) {
	f, box := start(t)
	var before, after, until time.Time
	box.after = func(Mail) {
		require.NoError(t, f.DB.QueryRowContext(t.Context(), "SELECT NOW(6), claimed_until FROM conversations").Scan(&after, &until))
	}
	require.NoError(t, f.DB.QueryRowContext(t.Context(), "SELECT NOW(6)").Scan(&before))
	require.NoError(t, f.Handle(t.Context(), functiontest.Event(t, confirmed(functiontest.OrderID()), 2)))
	assert.False(t, until.Before(before.Add(lease)), "it ends at %v, claimed after %v", until, before)
	assert.False(t, until.After(after.Add(lease)), "it ends at %v, claimed before %v", until, after)
}

func TestOlderNewsAreNotSentAfterNewerOnesWhoseMarkWasLost(t *testing.T) {
	f := functiontest.Start(t, New(), nil)
	orderID := functiontest.OrderID()
	canceled := functiontest.Event(t, events.OrderCanceled{OrderID: orderID, CustomerEmail: "alice@example.com", PreviousStatus: events.StatusConfirmed, CreatedAt: time.Now()}, 3)
	confirmed := functiontest.Event(t, events.OrderConfirmed{OrderID: orderID, CustomerEmail: "alice@example.com", TotalAmount: 1, CreatedAt: time.Now()}, 2)
	n, err := newNews(canceled, &base.Outcome{})
	require.NoError(t, err)
	_, err = f.claim(t.Context(), []*news{n}, f.NewID(), false) // and its process dies, before or after the mail
	require.NoError(t, err)
	_, err = f.DB.ExecContext(t.Context(), "UPDATE conversations SET claimed_until = NOW(6) WHERE order_id = ?", orderID)
	require.NoError(t, err)

	require.NoError(t, f.Handle(t.Context(), confirmed))
	require.NoError(t, f.Handle(t.Context(), canceled))

	var statuses []string
	rows, err := f.DB.QueryContext(t.Context(), "SELECT CONCAT(order_version, ' ', status) FROM notifications WHERE order_id = ? ORDER BY order_version", orderID)
	require.NoError(t, err)
	defer func() { assert.NoError(t, rows.Close()) }()
	for rows.Next() {
		var text string
		require.NoError(t, rows.Scan(&text))
		statuses = append(statuses, text)
	}
	require.NoError(t, rows.Err())
	assert.Equal(t, []string{"2 SUPPRESSED", "3 SENT"}, statuses)
}
