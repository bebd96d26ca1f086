package settle_test

import (
	"cmp"
	"database/sql"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/functions/internal/operate/settle"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/sql/operations"
	"example.com/orders/sql/payments"
	"example.com/orders/sql/schema"
)

const actor = "alice@laptop"

func newOperator(t *testing.T) settle.Operator {
	t.Helper()
	server := mysqltest.Server(t)
	return settle.Operator{DB: mysqltest.Pool(t, server, schema.Payments), Operations: mysqltest.Pool(t, server, schema.Operations), Actor: actor}
}

// store stores a payment with a status, and returns its order.
func store(t *testing.T, o settle.Operator, status payments.PaymentsStatus) (orderID string) {
	t.Helper()
	orderID = functiontest.OrderID()
	functiontest.Payment(t, o.DB, orderID, status, time.Minute)
	return orderID
}

func show(t *testing.T, o settle.Operator, orderID string) settle.Full {
	t.Helper()
	full, err := settle.Show(t.Context(), o.DB, o.Operations, orderID)
	require.NoError(t, err)
	return full
}

// recorded lists the actions on a payment as "action answer, detail: outcome", the newest first.
func recorded(t *testing.T, o settle.Operator, orderID string) (all []string) {
	t.Helper()
	for _, a := range show(t, o, orderID).Actions {
		assert.Equal(t, actor, a.Actor)
		assert.WithinDuration(t, time.Now(), a.At, time.Minute)
		all = append(all, strings.TrimSpace(string(a.Action)+" "+a.Answer)+", "+a.Detail+": "+settle.Outcome(a))
	}
	return all
}

// logged lists the entries of a payment's log as "entry reference", with their sum.
func logged(t *testing.T, o settle.Operator, orderID string) (all []string, held int64) {
	t.Helper()
	for _, entry := range show(t, o, orderID).Log {
		assert.Equal(t, actor, entry.Actor)
		reference := ""
		if entry.Reference != nil {
			reference = *entry.Reference
		}
		all, held = append(all, strings.TrimSpace(string(entry.Entry)+" "+reference)), held+entry.Amount
	}
	return all, held
}

func TestASettledPaymentIsAsTheGatewaysAnswerWouldHaveMadeIt(t *testing.T) {
	o := newOperator(t)
	for name, c := range map[string]struct {
		from   payments.PaymentsStatus
		known  settle.Known
		state  settle.State
		log    string
		held   int64
		emits  string
		record string
	}{
		"authorized": {
			payments.PaymentsStatusREQUESTED, settle.Known{Status: gateway.Authorized, Reference: "ch_7"},
			settle.Authorized, "AUTHORIZED ch_7", 2598, events.PaymentAuthorizedType, "SETTLE authorized as ch_7",
		},
		"declined": {
			payments.PaymentsStatusREQUESTED, settle.Known{Status: gateway.Declined, Reason: "card_declined"},
			settle.Declined, "DECLINED", 0, events.PaymentDeclinedType, "SETTLE declined: card_declined",
		},
		"refunded": {
			payments.PaymentsStatusREFUNDREQUESTED, settle.Known{Status: gateway.Refunded, Reference: "re_7"},
			settle.Refunded, "REFUNDED re_7", -2598, events.PaymentRefundedType, "SETTLE refunded as re_7",
		},
	} {
		t.Run(name, func(t *testing.T) {
			id := store(t, o, c.from)
			require.NoError(t, o.Settle(t.Context(), id, c.known, "seen on its pages"))
			p := show(t, o, id)
			assert.Equal(t, c.state, p.State)
			assert.Empty(t, p.Operation)
			assert.Nil(t, p.NextAttempt)
			log, held := logged(t, o, id)
			assert.Equal(t, []string{c.log}, log)
			assert.Equal(t, c.held, held)
			emitted := outboxtest.Drain(t, o.DB)
			require.Len(t, emitted, 1)
			assert.Equal(t, c.emits, emitted[0].Type())
			assert.Equal(t, []string{c.record + ", seen on its pages: done"}, recorded(t, o, id))
			assert.Contains(t, c.known.Does(), c.emits)
		})
	}
}

func TestARefundOfNothingIsSettledWithoutAFact(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	id := store(t, o, payments.PaymentsStatusREFUNDREQUESTED)
	_, err := o.DB.ExecContext(t.Context(), "UPDATE payments SET reference = NULL")
	require.NoError(t, err)
	require.NoError(t, o.Settle(t.Context(), id, settle.Known{Status: gateway.Nothing}, ""))
	assert.Equal(t, settle.Void, show(t, o, id).State)
	assert.Empty(t, outboxtest.Drain(t, o.DB))
	log, held := logged(t, o, id)
	assert.Equal(t, []string{"VOID"}, log)
	assert.Zero(t, held)
}

func TestWhatDoesNotFitIsRefusedByTheDryRunToo(t *testing.T) {
	o := newOperator(t)
	for name, c := range map[string]struct {
		from  payments.PaymentsStatus
		known settle.Known
		says  string
	}{
		"an authorization was refunded":      {payments.PaymentsStatusREQUESTED, settle.Known{Status: gateway.Refunded, Reference: "re_7"}, "does not fit"},
		"an authorization held nothing":      {payments.PaymentsStatusREQUESTED, settle.Known{Status: gateway.Nothing}, "does not fit"},
		"a refund was authorized":            {payments.PaymentsStatusREFUNDREQUESTED, settle.Known{Status: gateway.Authorized, Reference: "ch_7"}, "does not fit"},
		"a refund was declined":              {payments.PaymentsStatusREFUNDREQUESTED, settle.Known{Status: gateway.Declined, Reason: "card_declined"}, "does not fit"},
		"money that is held was not held":    {payments.PaymentsStatusREFUNDREQUESTED, settle.Known{Status: gateway.Nothing}, "holds 2598 EUR under auth_1"},
		"an authorized payment was declined": {payments.PaymentsStatusAUTHORIZED, settle.Known{Status: gateway.Declined, Reason: "card_declined"}, "no outcome of this payment is unknown"},
		"a refunded payment was refunded":    {payments.PaymentsStatusREFUNDED, settle.Known{Status: gateway.Refunded, Reference: "re_7"}, "no outcome of this payment is unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			id := store(t, o, c.from)
			before := show(t, o, id).Payment
			planned := o.Plan(t.Context(), id, c.known)
			require.ErrorIs(t, planned, settle.ErrUnchanged)
			require.ErrorContains(t, planned, c.says)
			assert.Equal(t, planned.Error(), o.Settle(t.Context(), id, c.known, "").Error())
			assert.Equal(t, before, show(t, o, id).Payment)
			assert.Empty(t, show(t, o, id).Log)
			assert.Contains(t, recorded(t, o, id)[0], c.says)
		})
	}
	assert.ErrorIs(t, o.Settle(t.Context(), functiontest.OrderID(), settle.Known{Status: gateway.Declined, Reason: "card_declined"}, ""), settle.ErrUnchanged)
	assert.Empty(t, outboxtest.Drain(t, o.DB))
}

func TestWhatIsMissingIsSaidBeforeAnythingIsRecorded(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	id := store(t, o, payments.PaymentsStatusREQUESTED)
	for _, known := range []settle.Known{
		{},
		{Status: gateway.Closed},
		{Status: gateway.Authorized},
		{Status: gateway.Authorized, Reference: "with spaces"},
		{Status: gateway.Authorized, Reference: events.NoReference},
		{Status: gateway.Authorized, Reference: "ch_7", Reason: "card_declined"},
		{Status: gateway.Declined},
		{Status: gateway.Declined, Reason: "The card was declined"},
		{Status: gateway.Declined, Reason: "card_declined", Reference: "ch_7"},
		{Status: gateway.Nothing, Reference: "ch_7"},
	} {
		require.Error(t, o.Settle(t.Context(), id, known, ""), known)
		require.NotErrorIs(t, o.Plan(t.Context(), id, known), settle.ErrUnchanged, known)
	}
	assert.Empty(t, show(t, o, id).Actions)
	assert.Equal(t, settle.Unknown, show(t, o, id).State)
}

func TestADryRunChangesNothing(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	id := store(t, o, payments.PaymentsStatusREQUESTED)
	before := show(t, o, id)
	require.NoError(t, o.Plan(t.Context(), id, settle.Known{Status: gateway.Authorized, Reference: "ch_7"}))
	require.NoError(t, o.PlanRetry(t.Context(), id))
	assert.Equal(t, before, show(t, o, id))
	assert.Empty(t, outboxtest.Drain(t, o.DB))
}

// TestOfTwoOutcomesTheFirstCounts has two operators who know different things.
func TestOfTwoOutcomesTheFirstCounts(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	id := store(t, o, payments.PaymentsStatusREQUESTED)
	var refused [2]error
	var both sync.WaitGroup
	for n, known := range []settle.Known{{Status: gateway.Authorized, Reference: "ch_7"}, {Status: gateway.Declined, Reason: "card_declined"}} {
		both.Go(func() { refused[n] = o.Settle(t.Context(), id, known, "") })
	}
	both.Wait()
	require.Len(t, slices.DeleteFunc(refused[:], func(err error) bool { return err == nil }), 1)
	require.ErrorIs(t, cmp.Or(refused[0], refused[1]), settle.ErrUnchanged)
	assert.Len(t, outboxtest.Drain(t, o.DB), 1)
	assert.Len(t, show(t, o, id).Log, 1)
	assert.Len(t, show(t, o, id).Actions, 2)
}

// TestASettlementWhoseCommitIsLostIsDoneOnce loses the connection around the commit: the second try finds what the first one
// has done.
func TestASettlementWhoseCommitIsLostIsDoneOnce(t *testing.T) {
	for name, lose := range map[string]func(*mysqltest.Loss){
		"before it took effect": func(l *mysqltest.Loss) { l.Before.Store(1) },
		"after it took effect":  func(l *mysqltest.Loss) { l.After.Store(1) },
	} {
		t.Run(name, func(t *testing.T) {
			server := mysqltest.Server(t)
			db, loss := mysqltest.Lossy(t, server, schema.Payments)
			o := settle.Operator{DB: db, Operations: mysqltest.Pool(t, server, schema.Operations), Actor: actor}
			for from, known := range map[payments.PaymentsStatus]settle.Known{
				payments.PaymentsStatusREQUESTED:       {Status: gateway.Declined, Reason: "card_declined"},
				payments.PaymentsStatusREFUNDREQUESTED: {Status: gateway.Refunded, Reference: "re_7"},
			} {
				id := store(t, o, from)
				lose(loss)
				require.NoError(t, o.Settle(t.Context(), id, known, ""))
				assert.Len(t, outboxtest.Drain(t, o.DB), 1)
				assert.Len(t, show(t, o, id).Log, 1)
				require.ErrorIs(t, o.Settle(t.Context(), id, known, ""), settle.ErrUnchanged, "the next one is another one")
			}
		})
	}
}

func TestNothingIsDoneThatCannotBeRecorded(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	id := store(t, o, payments.PaymentsStatusREQUESTED)
	_, err := o.Operations.ExecContext(t.Context(), "DROP TABLE payment_actions")
	require.NoError(t, err)
	require.ErrorContains(t, o.Settle(t.Context(), id, settle.Known{Status: gateway.Authorized, Reference: "ch_7"}, ""), "harness migrate")
	require.Error(t, o.Retry(t.Context(), id, ""))
	assert.Empty(t, outboxtest.Drain(t, o.DB))
	assert.Equal(t, 1, mysqltest.Count(t, o.DB, "SELECT COUNT(*) FROM payments WHERE status = 'REQUESTED' AND next_attempt_at > NOW(6)"))
}

func TestAnActionIsRecordedBeforeItIsDone(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	id := store(t, o, payments.PaymentsStatusREQUESTED)
	_, err := o.DB.ExecContext(t.Context(), "DROP TABLE outbox")
	require.NoError(t, err)
	require.Error(t, o.Settle(t.Context(), id, settle.Known{Status: gateway.Authorized, Reference: "ch_7"}, "why"))
	assert.Contains(t, recorded(t, o, id)[0], "SETTLE authorized as ch_7, why: commit: Error 1146")
	assert.Equal(t, settle.Unknown, show(t, o, id).State, "without its fact it is not settled")
}

func due(t *testing.T, db *sql.DB) int {
	t.Helper()
	return mysqltest.Count(t, db, "SELECT COUNT(*) FROM payments WHERE next_attempt_at <= NOW(6)")
}

func TestTheGatewayIsAskedAgainAtOnceAboutOnePayment(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	id, other := store(t, o, payments.PaymentsStatusREQUESTED), store(t, o, payments.PaymentsStatusREFUNDREQUESTED)
	held := store(t, o, payments.PaymentsStatusAUTHORIZED)
	require.NoError(t, o.Retry(t.Context(), id, "it answers again"))
	assert.Equal(t, 1, due(t, o.DB))
	assert.Equal(t, []string{"RETRY, it answers again: done"}, recorded(t, o, id))
	assert.Empty(t, show(t, o, other).Actions)

	for _, closed := range []string{held, functiontest.OrderID()} {
		require.ErrorIs(t, o.PlanRetry(t.Context(), closed), settle.ErrUnchanged)
		require.ErrorIs(t, o.Retry(t.Context(), closed, ""), settle.ErrUnchanged)
	}
	assert.Equal(t, 1, due(t, o.DB))
}

func TestTheGatewayIsAskedAgainAtOnceAboutAllPayments(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	store(t, o, payments.PaymentsStatusAUTHORIZED)
	for range 3 {
		store(t, o, payments.PaymentsStatusREQUESTED)
		store(t, o, payments.PaymentsStatusREFUNDREQUESTED)
	}
	changed, err := o.RetryAll(t.Context(), "it answers again")
	require.NoError(t, err)
	assert.EqualValues(t, 6, changed)
	assert.Equal(t, 6, due(t, o.DB))
	last, err := operations.New(o.Operations).ListLastPaymentActions(t.Context(), 5)
	require.NoError(t, err)
	require.Len(t, last, 1)
	assert.Nil(t, last[0].OrderID)
	assert.Equal(t, "6 payments are due", settle.Outcome(last[0]))
}

func TestListsContinueAfterAPlace(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	var want []string
	for n := range 5 {
		status := []payments.PaymentsStatus{payments.PaymentsStatusREQUESTED, payments.PaymentsStatusREFUNDREQUESTED}[n%2]
		id := functiontest.OrderID()
		functiontest.Payment(t, o.DB, id, status, time.Hour-time.Duration(n)*time.Minute)
		want = append(want, id)
	}
	// Two of the same moment are told apart by their orders.
	_, err := o.DB.ExecContext(t.Context(), "UPDATE payments a JOIN payments b ON b.order_id = ? SET a.requested_at = b.requested_at WHERE a.order_id = ?", want[0], want[2])
	require.NoError(t, err)
	want = []string{want[0], want[2], want[1], want[3], want[4]}
	slices.Sort(want[:2])
	store(t, o, payments.PaymentsStatusDECLINED)

	var oldest []string
	for place := settle.Begin; ; {
		page, err := settle.ListUnknown(t.Context(), o.DB, place, 1)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		oldest, place = append(oldest, page[0].OrderID), settle.PlaceOf(page[0])
	}
	assert.Equal(t, want, oldest)

	var newest []string
	for place := settle.End; ; {
		page, err := settle.ListNewest(t.Context(), o.DB, []settle.State{settle.Unknown}, place, 2)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		for _, p := range page {
			newest, place = append(newest, p.OrderID), settle.PlaceOf(p)
		}
	}
	slices.Reverse(newest)
	assert.Equal(t, want, newest)

	counts, err := settle.Tally(t.Context(), o.DB)
	require.NoError(t, err)
	assert.Equal(t, map[settle.State]int64{settle.Unknown: 5, settle.Authorized: 0, settle.Declined: 1, settle.Refunded: 0, settle.Void: 0}, counts)
	waiting, err := settle.Count(t.Context(), o.DB, 100)
	require.NoError(t, err)
	assert.EqualValues(t, 3, waiting[settle.Authorize].Requests)
	assert.EqualValues(t, 2, waiting[settle.Refund].Requests)
	assert.InDelta(t, 60, waiting[settle.Authorize].Oldest.Minutes(), 5)
}

func TestThePaymentOfNoOrderIsSaidToBeMissing(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	_, err := settle.Show(t.Context(), o.DB, o.Operations, functiontest.OrderID())
	assert.ErrorIs(t, err, settle.ErrUnchanged)
}
