package payment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/sql/payments"
	"example.com/orders/sql/transaction"
)

// ErrNotOpen means that an order has no request whose outcome is unknown.
var ErrNotOpen = errors.New("no outcome of this payment is unknown")

// ErrUnfit means that an answer does not fit what the gateway was asked for.
var ErrUnfit = errors.New("that does not fit the payment")

// answered is a request with the gateway's answer, or with the error that leaves its outcome unknown.
type answered struct {
	Request
	answer gateway.Answer
	err    error
}

// effect is what recording an answer results in.
type effect struct {
	facts   []event.Event
	status  payments.PaymentsStatus // what the request became, empty if its outcome is still unknown or was known already
	reason  string                  // of a decline
	outcome string                  // for the log
}

// ledger collects the rows that record writes.
type ledger struct {
	ended     []payments.EndRequestParams
	postponed []payments.PostponeRequestParams
	reopened  []payments.RequestRefundParams // after ended
	log       []payments.InsertPaymentLogParams
	actor     string
	settled   bool // the actor is an operator
	at        time.Time
}

// record writes what became of requests, and returns the effect of each, in order. An answer counts only while its request
// is open: it is dropped if another process has recorded one, or if a refund has taken the place of the authorization. Money
// that is held all the same is refunded.
func (l *ledger) record(ctx context.Context, tx *transaction.Tx, all []answered) ([]effect, error) {
	ids := make([]string, len(all))
	for n, a := range all {
		ids[n] = a.OrderID
	}
	rows, err := lock(ctx, tx, ids)
	if err != nil {
		return nil, err
	}
	effects := make([]effect, len(all))
	for n, a := range all {
		row, known := rows[a.OrderID]
		switch {
		case known && l.heldForNothing(row, a):
			effects[n].outcome = "held for an order that is not to be charged, to be refunded"
			delete(rows, a.OrderID)
		case !known || row.Status != a.Status:
			effects[n].outcome = "another answer was recorded before"
		case a.err != nil:
			l.postpone(a, row.Attempts)
			effects[n].outcome = "outcome unknown, to be asked again: " + a.err.Error()
		default:
			if effects[n], err = l.end(row, a); err != nil {
				return nil, err
			}
			delete(rows, a.OrderID) // of two answers about one order only the first counts
		}
	}
	return effects, l.write(ctx, tx)
}

// heldForNothing returns whether an authorization was answered late, after its row had become VOID or DECLINED: an operator
// has settled it while the call was under way. It makes the row a request to refund, which the next sweep finds.
func (l *ledger) heldForNothing(row payments.LockPaymentsRow, a answered) bool {
	if a.err != nil || a.answer.Status != gateway.Authorized {
		return false
	}
	reason := events.ReasonFailed
	switch row.Status {
	case payments.PaymentsStatusVOID:
		reason = text(row.Reason)
	case payments.PaymentsStatusDECLINED:
	default:
		return false
	}
	l.add(row, payments.PaymentLogEntryAUTHORIZED, row.Amount, a.answer.Reference, "")
	l.ended = append(l.ended, payments.EndRequestParams{
		OrderID: row.OrderID, Status: payments.PaymentsStatusREFUNDREQUESTED, Reference: &a.answer.Reference, Version: row.Version, UpdatedAt: l.at,
	})
	l.reopened = append(l.reopened, payments.RequestRefundParams{OrderID: row.OrderID, Reason: &reason, Cause: row.Cause, UpdatedAt: l.at})
	return true
}

// lock locks the rows of orders, in order of id, and returns them by order.
func lock(ctx context.Context, tx *transaction.Tx, ids []string) (map[string]payments.LockPaymentsRow, error) {
	slices.Sort(ids)
	ids = slices.Compact(ids)
	rows, err := payments.New(tx).LockPayments(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("lock the payments of %d orders: %w", len(ids), err)
	}
	locked := make(map[string]payments.LockPaymentsRow, len(rows))
	for _, row := range rows {
		locked[row.OrderID] = row
	}
	return locked, nil
}

// maxError is the length of last_error.
const maxError = 512

func (l *ledger) postpone(a answered, attempts int) {
	wait := backoff(attempts)
	if gateway.IsNotAsked(a.err) {
		wait = min(wait, recovery)
	}
	reason := strings.ToValidUTF8(a.err.Error(), "?")
	if runes := []rune(reason); len(runes) > maxError {
		reason = string(runes[:maxError])
	}
	l.postponed = append(l.postponed, payments.PostponeRequestParams{OrderID: a.OrderID, LastError: &reason, WaitMicros: wait.Microseconds()})
}

// end ends the request of a row by the gateway's answer.
func (l *ledger) end(row payments.LockPaymentsRow, a answered) (effect, error) {
	e := effect{status: next(row.Status, a.answer.Status)}
	var fact events.Data
	reference, reason := text(row.Reference), text(row.Reason)
	switch e.status {
	case payments.PaymentsStatusAUTHORIZED:
		reference = a.answer.Reference
		l.add(row, payments.PaymentLogEntryAUTHORIZED, row.Amount, reference, "")
		fact = events.PaymentAuthorized{
			OrderID: row.OrderID, Amount: row.Amount, Currency: row.Currency, Reference: reference, Items: a.Items, CreatedAt: l.at,
		}
	case payments.PaymentsStatusDECLINED:
		reason = cmp.Or(a.answer.Reason, string(a.answer.Status))
		e.reason = reason
		l.add(row, payments.PaymentLogEntryDECLINED, 0, "", reason)
		fact = events.PaymentDeclined{OrderID: row.OrderID, Amount: row.Amount, Currency: row.Currency, Reason: reason, CreatedAt: l.at}
	case payments.PaymentsStatusREFUNDED:
		if reference == "" { // the answer to the authorization was never recorded
			reference = a.Reference
			l.add(row, payments.PaymentLogEntryAUTHORIZED, row.Amount, reference, "")
		}
		l.add(row, payments.PaymentLogEntryREFUNDED, -row.Amount, a.answer.Reference, reason)
		fact = events.PaymentRefunded{
			OrderID: row.OrderID, Amount: row.Amount, Currency: row.Currency, Reference: a.answer.Reference, Reason: reason, CreatedAt: l.at,
		}
	default:
		l.add(row, payments.PaymentLogEntryVOID, 0, "", reason)
	}
	version := row.Version
	e.outcome = strings.ToLower(string(e.status))
	if fact != nil {
		version++
		emitted, err := events.New(fact, version, l.at, a.Cause)
		if err != nil {
			return e, err
		}
		e.facts, e.outcome = []event.Event{emitted}, fact.Type()
	}
	l.ended = append(l.ended, payments.EndRequestParams{
		OrderID: row.OrderID, Status: e.status, Reference: column(reference), Reason: column(reason), Version: version, Settled: l.settled, UpdatedAt: l.at,
	})
	return e, nil
}

// next returns the status after an open one, by the gateway's answer. A gateway that has closed the key of an authorization
// whose order has not ended will never hold its money: that is a decline.
func next(open payments.PaymentsStatus, answer gateway.Status) payments.PaymentsStatus {
	switch {
	case open == payments.PaymentsStatusREQUESTED && answer == gateway.Authorized:
		return payments.PaymentsStatusAUTHORIZED
	case open == payments.PaymentsStatusREQUESTED:
		return payments.PaymentsStatusDECLINED
	case answer == gateway.Refunded:
		return payments.PaymentsStatusREFUNDED
	default:
		return payments.PaymentsStatusVOID
	}
}

func (l *ledger) add(row payments.LockPaymentsRow, entry payments.PaymentLogEntry, amount int64, reference, reason string) {
	l.log = append(l.log, payments.InsertPaymentLogParams{
		OrderID: row.OrderID, Entry: entry, Amount: amount, Currency: row.Currency, Reference: column(reference), Reason: column(reason),
		Actor: l.actor, CreatedAt: l.at,
	})
}

// write stores the rows, at the latest with the commit.
func (l *ledger) write(ctx context.Context, tx *transaction.Tx) error {
	q := payments.New(tx.Deferred())
	if err := q.InsertPaymentLogs(ctx, l.log); err != nil {
		return fmt.Errorf("log %d payments: %w", len(l.log), err)
	}
	// Of two answers about one order the error may come first: the other one has the last word.
	if err := q.PostponeRequests(ctx, l.postponed); err != nil {
		return fmt.Errorf("postpone %d payments: %w", len(l.postponed), err)
	}
	if err := q.EndRequests(ctx, l.ended); err != nil {
		return fmt.Errorf("record the answers about %d payments: %w", len(l.ended), err)
	}
	for _, r := range l.reopened {
		if err := q.RequestRefund(ctx, r); err != nil {
			return fmt.Errorf("request the refund of order %s: %w", r.OrderID, err)
		}
	}
	return nil
}

// Settle records an answer that an operator knows from elsewhere, such as the gateway's own pages, about the open request of
// an order, and returns its facts, to be stored in the outbox. It returns ErrNotOpen if the order has no open request, and
// ErrUnfit if the answer does not fit it. actor names the operator in the log. A call to the gateway may be under way: if an
// operator says that it was declined, the gateway is asked all the same to return the money once the order has failed.
// If he says that nothing was held for an order that has ended, the gateway is not asked again: he must know that no call to
// authorize is under way.
func Settle(ctx context.Context, tx *transaction.Tx, at time.Time, actor, orderID string, answer gateway.Answer) ([]event.Event, error) {
	rows, err := lock(ctx, tx, []string{orderID})
	if err != nil {
		return nil, err
	}
	row := rows[orderID]
	if row.Status != payments.PaymentsStatusREQUESTED && row.Status != payments.PaymentsStatusREFUNDREQUESTED {
		return nil, fmt.Errorf("order %s: %w", orderID, ErrNotOpen)
	}
	r, err := requestOf(row)
	if err != nil {
		return nil, err
	}
	answer.Amount, answer.Currency = r.Amount, r.Currency
	if r.Status == payments.PaymentsStatusREFUNDREQUESTED && r.Reference == "" {
		r.Reference = answer.Reference
	}
	if answer.Status == gateway.Nothing && r.Reference != "" {
		return nil, fmt.Errorf("%w: order %s holds %d %s under %s, so that only a refund with its reference ends it", ErrUnfit, orderID, r.Amount, r.Currency, r.Reference)
	}
	if err := r.check(answer); err != nil {
		return nil, fmt.Errorf("%w: order %s: %w", ErrUnfit, orderID, err)
	}
	l := ledger{actor: actor, settled: true, at: at}
	effects, err := l.record(ctx, tx, []answered{{Request: r, answer: answer}})
	if err != nil {
		return nil, err
	}
	return effects[0].facts, nil
}

// check returns an error if an answer does not fit the request: then its outcome is as unknown as before.
func (r Request) check(a gateway.Answer) error {
	authorize := r.Status == payments.PaymentsStatusREQUESTED
	switch a.Status {
	case gateway.Authorized, gateway.Refunded:
		if authorize != (a.Status == gateway.Authorized) {
			break
		}
		if a.Amount != r.Amount || a.Currency != r.Currency {
			return fmt.Errorf("the gateway's answer is about %d %s, and the request about %d %s: compare its ledger with payments, then settle the payment by hand",
				a.Amount, a.Currency, r.Amount, r.Currency)
		}
		if !events.ValidReference(a.Reference) {
			return fmt.Errorf("the gateway gave its answer %q the reference %q, which is not valid", a.Status, a.Reference)
		}
		if !authorize && r.Reference == "" {
			return errors.New("the gateway has refunded an authorization that it does not know: compare its ledger with payments, then settle the payment by hand")
		}
		return nil
	case gateway.Declined, gateway.Closed:
		if authorize {
			return nil
		}
	case gateway.Nothing:
		if !authorize && r.Reference != "" {
			return fmt.Errorf("the gateway says that it held nothing, and the log that it holds %d %s as %s: compare its ledger with payments, then settle the payment by hand",
				r.Amount, r.Currency, r.Reference)
		}
		if !authorize {
			return nil
		}
	}
	return fmt.Errorf("the answer %q does not fit a payment that is %s", a.Status, r.Status)
}
