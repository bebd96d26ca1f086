package notify

import (
	"bytes"
	"database/sql"
	"fmt"
	"log/slog"
	"math/rand/v2"
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
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/notifications"
	"example.com/orders/sql/schema"
)

// ledger is a log that keeps the mails to customers.
type ledger struct {
	mu    sync.Mutex
	lines []string
}

func (l *ledger) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if bytes.Contains(line, []byte("Email to ")) {
		l.lines = append(l.lines, strings.TrimSpace(string(line)))
	}
	return len(line), nil
}

// mails returns the logged mails, sorted as text: mails of different orders have no order.
func (l *ledger) mails() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(slices.Values(l.lines))
}

// logged starts the function on db, or on a new schema if db is nil, without a mailer, and with a ledger as its log.
func logged(t *testing.T, db *sql.DB) (*Function, *ledger) {
	t.Helper()
	l := &ledger{}
	f := New()
	f.DB = db
	f.Log = slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	return functiontest.Start(t, f, nil), l
}

// state returns all rows that the function has written.
func state(t *testing.T, db *sql.DB) map[string][]string {
	t.Helper()
	return map[string][]string{
		"conversations": mysqltest.Rows(t, db, "SELECT order_id, version, claim, claimed_until FROM conversations ORDER BY order_id"),
		"notifications": mysqltest.Rows(t, db,
			"SELECT source, event_id, order_id, order_version, type, customer_email, status, attempts, created_at, sent_at FROM notifications ORDER BY event_id, source"),
	}
}

func TestABatchEndsAsItsEventsOneByOne(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			batched, batchedLog := logged(t, nil)
			single, singleLog := logged(t, nil)
			now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
			for _, f := range []*Function{batched, single} {
				f.Now = func() time.Time { return now }
			}
			random := rand.New(rand.NewPCG(seed, 7))
			ids := make([]string, 60)
			for i := range ids {
				ids[i] = functiontest.OrderID()
			}
			make3 := []func(string) events.Data{
				func(id string) events.Data { return confirmed(id) },
				func(id string) events.Data { return failed(id) },
				func(id string) events.Data { return canceled(id) },
			}
			var past []event.Event
			for range 20 {
				now = now.Add(time.Second)
				kind := random.IntN(3)
				order := random.Perm(len(ids))
				var batch []event.Event
				for n := range 1 + random.IntN(8) {
					// Usually each batch has each order once.
					e := functiontest.Event(t, make3[kind](ids[order[n]]), 2+kind/2)
					switch choice := random.IntN(30); {
					case choice == 0 && len(past) > 0:
						e = past[random.IntN(len(past))]
					case choice == 1 && len(batch) > 0:
						e = batch[random.IntN(len(batch))]
					case choice == 2:
						e = functiontest.Event(t, make3[kind](ids[order[n]]), 4)
					case choice == 3:
						e = functiontest.Broken(e)
					case choice == 4:
						e.SetType(events.OrderCreatedType)
					}
					batch = append(batch, e)
				}
				past = append(past, batch...)
				answers := functiontest.Together(t.Context(), batched, batch...)
				want := make([]error, len(batch))
				for i, e := range batch {
					want[i] = single.Handle(t.Context(), e)
				}
				assert.Equal(t, functiontest.Statuses(want), functiontest.Statuses(answers))
			}
			assert.Equal(t, state(t, single.DB), state(t, batched.DB))
			assert.Equal(t, singleLog.mails(), batchedLog.mails())
		})
	}
}

func news64(t *testing.T) (batch []event.Event) {
	t.Helper()
	for range 64 {
		batch = append(batch, functiontest.Event(t, confirmed(functiontest.OrderID()), 2))
	}
	return batch
}

func TestBatchesAndSinglesOfTheSameNewsSendOnce(t *testing.T) {
	f, l := logged(t, nil)
	batch := news64(t)

	functiontest.Concurrently(6, func(n int) {
		mixed := slices.Clone(batch)
		rand.New(rand.NewPCG(1, uint64(n))).Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
		if n == 0 {
			for _, e := range mixed[:20] {
				_ = f.Handle(t.Context(), e) // it may be busy: the batch checks that
			}
			return
		}
		functiontest.Together(t.Context(), f, mixed...)
	})
	for _, e := range batch { // busy ones are delivered again
		assert.NoError(t, f.Handle(t.Context(), e))
	}

	assert.Len(t, l.mails(), len(batch))
	assert.Equal(t, len(batch), mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM notifications WHERE status = 'SENT'"))
	assert.Equal(t, len(batch), mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM conversations WHERE version = 2 AND claim IS NULL"))
}

func TestABatchWhoseCommitIsLostSendsOnceAndAtOnce(t *testing.T) {
	for name, c := range map[string]struct{ before, after int32 }{
		"before it": {2, 0}, "after it": {0, 1}, "after both": {0, 2},
	} {
		t.Run(name, func(t *testing.T) {
			db, loss := mysqltest.Lossy(t, mysqltest.Server(t), schema.Notifications)
			f, l := logged(t, db)
			batch := news64(t)[:5]
			loss.Before.Store(c.before)
			loss.After.Store(c.after)
			for range 2 {
				answers := functiontest.Together(t.Context(), f, batch...)
				assert.Equal(t, []int{200, 200, 200, 200, 200}, functiontest.Statuses(answers))
			}
			assert.Len(t, l.mails(), 5)
			assert.Equal(t, 5, mysqltest.Count(t, db, "SELECT COUNT(*) FROM notifications WHERE status = 'SENT' AND attempts = 1"))
		})
	}
}

func TestABatchThatDiedBetweenClaimAndMarkIsSentAgainAfterItsLease(t *testing.T) {
	f, l := logged(t, nil)
	batch := news64(t)[:3]
	var all []*news
	for _, e := range batch {
		n, err := newNews(e, &base.Outcome{})
		require.NoError(t, err)
		n.email = customer
		all = append(all, n)
	}
	claimed, err := f.claim(t.Context(), all, f.NewID(), false)
	require.NoError(t, err)
	require.Len(t, claimed, 3)

	assert.Equal(t, []int{503, 503, 503}, functiontest.Statuses(functiontest.Together(t.Context(), f, batch...)))
	expire(t, f.DB)
	assert.Equal(t, []int{200, 200, 200}, functiontest.Statuses(functiontest.Together(t.Context(), f, batch...)))

	assert.Len(t, l.mails(), 3)
	assert.Equal(t, 3, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM notifications WHERE status = 'SENT' AND attempts = 2"))
}

func TestABatchTakesAsManyStatementsAsAFewEvents(t *testing.T) {
	f, l := logged(t, nil)
	batch := news64(t)
	n := mysqltest.Statements(t, f.DB, func() {
		functiontest.Together(t.Context(), f, batch...)
	})
	assert.LessOrEqual(t, n, 14)
	assert.Len(t, l.mails(), len(batch))
}

func TestStatementsOfABatchFindTheirRowsByThePrimaryKey(t *testing.T) {
	for size, n := range map[string]int{"few rows": 3, "many rows": 3000} {
		t.Run(size, func(t *testing.T) {
			db := mysqltest.Open(t, schema.Notifications)
			ids, eventIDs := make([]string, n), make([]string, n)
			rows := make([]notifications.UpsertNotificationParams, n)
			for i := range n {
				ids[i] = functiontest.OrderID()
				eventIDs[i] = ids[i] + "#2"
				rows[i] = notifications.UpsertNotificationParams{
					Source: events.OrdersSource, EventID: eventIDs[i], OrderID: ids[i], OrderVersion: 2, Type: "order.confirmed", CustomerEmail: customer,
					Status: notifications.NotificationsStatusCLAIMED, CreatedAt: time.Now(),
				}
			}
			require.NoError(t, notifications.New(db).OpenConversations(t.Context(), ids))
			require.NoError(t, notifications.New(db).UpsertNotifications(t.Context(), rows))
			mysqltest.Rows(t, db, "ANALYZE TABLE conversations")
			mysqltest.Rows(t, db, "ANALYZE TABLE notifications")
			p := mysqltest.NewPlanner(t, db)
			q, claim, now := notifications.New(p), functiontest.OrderID(), time.Now()
			for name, run := range map[string]func() error{
				"LockConversations": func() error { _, err := q.LockConversations(t.Context(), ids[:2]); return err },
				"ClaimConversations": func() error {
					return q.ClaimConversations(t.Context(), notifications.ClaimConversationsParams{Claim: &claim, LeaseMicros: 1, OrderIds: ids[:2]})
				},
				"EndConversations": func() error {
					return q.EndConversations(t.Context(), notifications.EndConversationsParams{Version: 2, OrderIds: ids[:2], Claim: &claim})
				},
				"MarkNotificationsSent": func() error {
					return q.MarkNotificationsSent(t.Context(), notifications.MarkNotificationsSentParams{SentAt: &now, EventIds: eventIDs[:2], Source: events.OrdersSource})
				},
			} {
				require.NoError(t, run(), name)
				require.Len(t, p.Lookups, 1, name)
				assert.Equal(t, "PRIMARY", p.Lookups[0].Index, "%s: %v", name, p.Lookups)
				assert.Equal(t, "range", p.Lookups[0].Access, "%s: %v", name, p.Lookups)
			}
		})
	}
}
