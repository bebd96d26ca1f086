package console_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/payments"
	"example.com/orders/sql/schema"
)

const paid = "payment" // the overlay

// paymentsPage is a page of payments.
type paymentsPage struct {
	Payments []struct {
		OrderID, State, Operation, Currency, Reference, Reason, LastError, NextAttemptAt string
		Amount, Attempts                                                                 int
	}
	Next        string
	MoreUnknown bool
	Actions     []struct{ Actor, Action, What, Detail, Result string }
}

func (p paymentsPage) orders() (ids []string) {
	for _, payment := range p.Payments {
		ids = append(ids, payment.OrderID)
	}
	return ids
}

// pay stores a payment, and returns its order.
func (b *bench) pay(status payments.PaymentsStatus, age time.Duration) (orderID string) {
	b.t.Helper()
	orderID = functiontest.OrderID()
	functiontest.Payment(b.t, b.pool(schema.Payments), orderID, status, age)
	return orderID
}

func anyPage(paymentsPage) bool { return true }

func TestUnknownPaymentsAreFirstAndTheOldestOfThemTheVeryFirst(t *testing.T) {
	b := newBenchOn(t, paid)
	assert.Empty(t, watch(b, "payments:", anyPage).Payments)
	held := b.pay(payments.PaymentsStatusAUTHORIZED, 4*time.Minute)
	declined := b.pay(payments.PaymentsStatusDECLINED, time.Minute)
	refunding := b.pay(payments.PaymentsStatusREFUNDREQUESTED, 2*time.Minute)
	asked := b.pay(payments.PaymentsStatusREQUESTED, 3*time.Minute)

	all := watch(b, "payments:", anyPage)
	require.Equal(t, []string{asked, refunding, declined, held}, all.orders())
	assert.Empty(t, all.Next)
	first, last := all.Payments[0], all.Payments[3]
	assert.Equal(t, []any{"unknown", "authorize", 2598, "EUR", 3, "no answer"}, []any{first.State, first.Operation, first.Amount, first.Currency, first.Attempts, first.LastError})
	assert.NotEmpty(t, first.NextAttemptAt)
	assert.Equal(t, "refund", all.Payments[1].Operation)
	assert.Equal(t, []any{"authorized", "", functiontest.Reference, ""}, []any{last.State, last.Operation, last.Reference, last.NextAttemptAt})
	assert.Equal(t, []string{asked, refunding}, watch(b, "payments:state=unknown", anyPage).orders())
	assert.Equal(t, []string{declined}, watch(b, "payments:state=declined", anyPage).orders())
	assert.Equal(t, map[string]int{"unknown": 2, "authorized": 1, "declined": 1, "refunded": 0, "void": 0}, watch(b, "paymentcounts", func(map[string]int) bool { return true }))
}

func TestPaymentsAreReadPageByPage(t *testing.T) {
	b := newBenchOn(t, paid)
	b.pay(payments.PaymentsStatusREQUESTED, time.Hour)
	for n := range 120 {
		b.pay([]payments.PaymentsStatus{payments.PaymentsStatusAUTHORIZED, payments.PaymentsStatusVOID}[n%2], time.Duration(n)*time.Minute)
	}
	for _, query := range []string{"", "state=authorized&"} {
		seen := map[string]bool{}
		page := watch(b, "payments:"+strings.TrimSuffix(query, "&"), anyPage)
		pages := 1
		for {
			for _, id := range page.orders() {
				assert.False(t, seen[id], "%s is on two pages", id)
				seen[id] = true
			}
			if page.Next == "" {
				break
			}
			pages++
			page = watch(b, "payments:"+strings.ReplaceAll(query, "&", "%26")+"after="+page.Next, anyPage)
		}
		want := map[string][2]int{"": {121, 3}, "state=authorized&": {60, 2}}[query]
		assert.Equal(t, want, [2]int{len(seen), pages}, query)
	}
}

func TestManyUnknownPaymentsDoNotHideTheOthers(t *testing.T) {
	b := newBenchOn(t, paid)
	for range 101 {
		b.pay(payments.PaymentsStatusREQUESTED, time.Minute)
	}
	held := b.pay(payments.PaymentsStatusAUTHORIZED, time.Minute)
	all := watch(b, "payments:", anyPage)
	assert.True(t, all.MoreUnknown)
	assert.Len(t, all.Payments, 101)
	assert.Equal(t, held, all.Payments[100].OrderID)
	unknown := watch(b, "payments:state=unknown", anyPage)
	assert.Len(t, unknown.Payments, 100)
	assert.Len(t, watch(b, "payments:state=unknown%26after="+unknown.Next, anyPage).Payments, 1)
}

func TestAPaymentIsSettledAfterADryRunAndRecorded(t *testing.T) {
	b := newBenchOn(t, paid)
	id := b.pay(payments.PaymentsStatusREQUESTED, time.Minute)
	functiontest.Order(t, b.pool(schema.Orders), id, orders.OrdersStatusPENDING)
	act := func(action, known string, dry bool) (answer []result) {
		b.do(http.MethodPost, "/console/payments", fmt.Sprintf(`{"action":%q,"reason":"seen","actor":"carol","dryRun":%t,"orders":[%q],"known":%s}`, action, dry, id, known), &answer)
		return answer
	}
	const held = `{"status":"authorized","reference":"ch_1"}`
	const does = "recorded as held under ch_1; payment.authorized is emitted, and the stock is reserved"
	assert.Equal(t, []result{{id, true, "would be due now"}}, act("retry", "{}", true))
	assert.Equal(t, []result{{id, true, "due now"}}, act("retry", "{}", false))
	assert.Equal(t, []result{{id, true, "would be " + does}}, act("settle", held, true))
	assert.Len(t, watch(b, "payments:state=unknown", anyPage).Payments, 1, "a dry run does nothing")
	assert.Equal(t, []result{{id, true, does}}, act("settle", held, false))
	assert.False(t, act("settle", held, false)[0].OK, "it is settled")
	assert.False(t, act("settle", held, true)[0].OK)
	assert.False(t, act("retry", "{}", true)[0].OK)
	assert.Len(t, outboxtest.Drain(t, b.pool(schema.Payments)), 1)

	actions := watch(b, "payments:", func(p paymentsPage) bool { return len(p.Actions) == 3 }).Actions
	assert.Contains(t, actions[0].Result, "no outcome of this payment is unknown")
	assert.Equal(t, []string{"SETTLE", "carol (console at 127.0.0.1)", id, "seen", "authorized as ch_1, done"},
		[]string{actions[1].Action, actions[1].Actor, actions[1].What, actions[1].Detail, actions[1].Result})
	assert.Equal(t, []string{"RETRY", "done"}, []string{actions[2].Action, actions[2].Result})

	type page struct {
		Payment struct {
			State   string
			Held    int
			Log     []struct{ Entry, Reference, Actor string }
			Actions []struct{ Action string }
		}
	}
	p := watch(b, "order:"+id, func(page) bool { return true }).Payment
	assert.Equal(t, []any{"authorized", 2598}, []any{p.State, p.Held})
	assert.Equal(t, []struct{ Entry, Reference, Actor string }{{"AUTHORIZED", "ch_1", "carol (console at 127.0.0.1)"}}, p.Log)
	assert.Len(t, p.Actions, 3)
}

func TestAllUnknownPaymentsAreRetriedAtOnce(t *testing.T) {
	b := newBenchOn(t, paid)
	for range 2 {
		b.pay(payments.PaymentsStatusREQUESTED, time.Minute)
		b.pay(payments.PaymentsStatusREFUNDREQUESTED, time.Minute)
	}
	due := func() int {
		return mysqltest.Count(t, b.pool(schema.Payments), "SELECT COUNT(*) FROM payments WHERE next_attempt_at <= NOW(6)")
	}
	var results []result
	b.do(http.MethodPost, "/console/payments", `{"action":"retry","all":true,"dryRun":true}`, &results)
	assert.Equal(t, []result{{"4 payments", true, "would be due now"}}, results)
	assert.Zero(t, due())
	b.do(http.MethodPost, "/console/payments", `{"action":"retry","all":true}`, &results)
	assert.Equal(t, []result{{"4 payments", true, "due now"}}, results)
	assert.Equal(t, 4, due())
	actions := watch(b, "payments:", func(p paymentsPage) bool { return len(p.Actions) == 1 }).Actions
	assert.Equal(t, []string{"all payments", "4 payments are due"}, []string{actions[0].What, actions[0].Result})
}

func TestInvalidRequestsAboutPaymentsAreRefused(t *testing.T) {
	b := newBenchOn(t, paid)
	id := b.pay(payments.PaymentsStatusREQUESTED, time.Minute)
	for name, body := range map[string]string{
		"an unknown action":             `{"action":"discard","orders":["` + id + `"]}`,
		"no order":                      `{"action":"retry"}`,
		"an order and all":              `{"action":"retry","all":true,"orders":["` + id + `"]}`,
		"something that is no order":    `{"action":"retry","orders":["17"]}`,
		"a settlement of all":           `{"action":"settle","all":true,"known":{"status":"authorized","reference":"ch_1"}}`,
		"a settlement of two":           `{"action":"settle","orders":["` + id + `","` + functiontest.OrderID() + `"],"known":{"status":"authorized","reference":"ch_1"}}`,
		"a settlement as nothing known": `{"action":"settle","orders":["` + id + `"]}`,
		"an authorization without name": `{"action":"settle","orders":["` + id + `"],"known":{"status":"authorized"}}`,
		"an unknown field":              `{"action":"retry","orders":["` + id + `"],"force":true}`,
		"a reason that is a book":       `{"action":"retry","orders":["` + id + `"],"reason":"` + strings.Repeat("x", 501) + `"}`,
	} {
		status, text := b.do(http.MethodPost, "/console/payments", body, nil)
		assert.Equal(t, http.StatusBadRequest, status, "%s: %s", name, text)
	}
	for _, view := range []string{"payments", "payments:state=lost", "payments:color=red", "payments:after=yesterday", "payments:after=2026-01-01T00:00:00.000000Z,17", "payments:state=void%26state=void"} {
		status, text := b.do(http.MethodGet, "/console/events?view="+view, "", nil)
		assert.Equal(t, http.StatusBadRequest, status, "%s: %s", view, text)
	}
	assert.Empty(t, watch(b, "payments:", anyPage).Actions)
}

func TestWithoutTheOverlayThereAreNoPayments(t *testing.T) {
	for overlay, has := range map[string]bool{"base": false, paid: true} {
		b := newBenchOn(t, overlay)
		var settings struct{ Payments bool }
		b.do(http.MethodGet, "/console/settings", "", &settings)
		assert.Equal(t, has, settings.Payments)
		if has {
			continue
		}
		for _, view := range []string{"payments:", "paymentcounts"} {
			status, _ := b.do(http.MethodGet, "/console/events?view="+view, "", nil)
			assert.Equal(t, http.StatusBadRequest, status)
		}
		status, text := b.do(http.MethodPost, "/console/payments", `{"action":"retry","all":true}`, nil)
		assert.Equal(t, http.StatusNotFound, status)
		assert.Contains(t, text, "--overlay payment")
	}
}
