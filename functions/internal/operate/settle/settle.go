package settle

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/functions/internal/function/payment"
	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/observe/oneline"
	"example.com/orders/sql/operations"
	"example.com/orders/sql/payments"
	"example.com/orders/sql/transaction"
)

// ErrUnchanged means that the payment of an order does not exist, or that its state does not allow the change.
var ErrUnchanged = errors.New("the payment was not changed")

// Known is what an operator knows of the gateway about an open request.
type Known struct {
	// Status is gateway.Authorized or gateway.Declined about an authorization, gateway.Refunded or gateway.Nothing about a
	// refund.
	Status gateway.Status
	// Reference is the gateway's name of the authorization or the refund, if Authorized or Refunded.
	Reference string
	// Reason is why it was Declined, such as card_declined.
	Reason string
}

// Statuses lists what an operator may know, by operation.
var Statuses = map[string][]gateway.Status{
	Authorize: {gateway.Authorized, gateway.Declined},
	Refund:    {gateway.Refunded, gateway.Nothing},
}

// Check returns an error that says what is missing, or has another form than the events allow.
func (k Known) Check() error {
	switch k.Status {
	case gateway.Authorized, gateway.Refunded:
		if k.Reason != "" {
			return fmt.Errorf("%s has no reason of a decline: leave it out", k.Status)
		}
		if !events.ValidReference(k.Reference) || k.Reference == events.NoReference {
			return fmt.Errorf("%s needs the gateway's reference of it: 1 to 128 of A-Z, a-z, 0-9 and . _ : -", k.Status)
		}
	case gateway.Declined:
		if k.Reference != "" {
			return fmt.Errorf("%s has no reference: leave it out", k.Status)
		}
		if !events.ValidReason(k.Reason) {
			return fmt.Errorf("%s needs the reason that the order fails with, such as card_declined: 1 to 64 of a-z, 0-9 and _", k.Status)
		}
	case gateway.Nothing:
		if k.Reference != "" || k.Reason != "" {
			return fmt.Errorf("%s has neither a reference nor a reason: leave them out", k.Status)
		}
	default:
		return fmt.Errorf("%q is none of authorized, declined, refunded and nothing", k.Status)
	}
	return nil
}

// String is what the record says of it.
func (k Known) String() string {
	switch {
	case k.Reference != "":
		return string(k.Status) + " as " + k.Reference
	case k.Reason != "":
		return string(k.Status) + ": " + k.Reason
	}
	return string(k.Status)
}

// Does says what settling a payment so does.
func (k Known) Does() string {
	switch k.Status {
	case gateway.Authorized:
		return "recorded as held under " + k.Reference + "; " + events.PaymentAuthorizedType + " is emitted, and the stock is reserved"
	case gateway.Declined:
		return "recorded as declined; " + events.PaymentDeclinedType + " is emitted, and the order fails with the reason " + k.Reason
	case gateway.Refunded:
		return "recorded as returned under " + k.Reference + "; " + events.PaymentRefundedType + " is emitted"
	default:
		return "recorded as never held; no event is emitted"
	}
}

// Operator changes payments whose outcome is unknown.
type Operator struct {
	// DB is a pool of the schema payments, Operations one of the schema operations.
	DB, Operations *sql.DB
	// Actor is recorded as the author of each action, and in the log of the payment.
	Actor string
}

// Settle records the outcome of an open request, and stores its fact in the outbox. A process may be asking the gateway at the
// same time: of the two only the first to record the outcome counts. The error wraps ErrUnchanged if the order has no open
// request, or one that the outcome does not fit.
func (o Operator) Settle(ctx context.Context, orderID string, known Known, reason string) error {
	if err := known.Check(); err != nil {
		return err
	}
	return o.recorded(ctx, operations.PaymentActionsActionSETTLE, &orderID, known.String(), reason, func(ctx context.Context) (string, error) {
		return "done", o.settle(ctx, orderID, known)
	})
}

func (o Operator) settle(ctx context.Context, orderID string, known Known) error {
	tries := 0
	_, err := outbox.Store{DB: o.DB, Now: time.Now}.Transact(ctx, func(ctx context.Context, tx *transaction.Tx) ([]event.Event, error) {
		tries++
		facts, err := o.record(ctx, tx, orderID, known)
		if tries > 1 && errors.Is(err, payment.ErrNotOpen) {
			// The connection was lost during a commit, which may have taken effect.
			return nil, o.unlessRecorded(ctx, tx, orderID, known, err)
		}
		return facts, err
	})
	return refusal(err)
}

// entry maps what an operator knows to what the log says then.
var entry = map[gateway.Status]payments.PaymentLogEntry{
	gateway.Authorized: payments.PaymentLogEntryAUTHORIZED, gateway.Declined: payments.PaymentLogEntryDECLINED,
	gateway.Refunded: payments.PaymentLogEntryREFUNDED, gateway.Nothing: payments.PaymentLogEntryVOID,
}

// unlessRecorded returns nil if the last entry of the payment's log is that of this operator about what is known.
func (o Operator) unlessRecorded(ctx context.Context, tx *transaction.Tx, orderID string, known Known, otherwise error) error {
	entries, err := payments.New(tx).ListPaymentLog(ctx, payments.ListPaymentLogParams{OrderID: orderID, Limit: maxEntries})
	if err != nil {
		return fmt.Errorf("read the log of the payment of order %s: %w", orderID, err)
	}
	if len(entries) == 0 {
		return otherwise
	}
	last := entries[len(entries)-1]
	if last.Entry != entry[known.Status] || last.Actor != o.actor() || text(last.Reference) != known.Reference {
		return otherwise
	}
	return nil
}

func (o Operator) record(ctx context.Context, tx *transaction.Tx, orderID string, known Known) ([]event.Event, error) {
	return payment.Settle(ctx, tx, time.Now().UTC().Truncate(time.Microsecond), o.actor(), orderID,
		gateway.Answer{Status: known.Status, Reference: known.Reference, Reason: known.Reason})
}

// errDry ends a transaction that must not be committed.
var errDry = errors.New("a dry run")

// Plan returns the error that Settle would return, and changes nothing.
func (o Operator) Plan(ctx context.Context, orderID string, known Known) error {
	if err := known.Check(); err != nil {
		return err
	}
	err := transaction.Run(ctx, o.DB, func(ctx context.Context, tx *transaction.Tx) error {
		if _, err := o.record(ctx, tx, orderID, known); err != nil {
			return err
		}
		return errDry
	})
	if errors.Is(err, errDry) {
		return nil
	}
	return refusal(err)
}

// refusal marks the errors by which the state machine refuses an outcome.
func refusal(err error) error {
	if errors.Is(err, payment.ErrNotOpen) || errors.Is(err, payment.ErrUnfit) {
		return fmt.Errorf("%w: %w", ErrUnchanged, err)
	}
	return err
}

// Retry makes the open request of an order due now, so that the gateway is asked about it at the next tick.
func (o Operator) Retry(ctx context.Context, orderID, reason string) error {
	return o.recorded(ctx, operations.PaymentActionsActionRETRY, &orderID, "", reason, func(ctx context.Context) (string, error) {
		changed, err := o.update(ctx, func(q *payments.Queries) (int64, error) { return q.RetryPayment(ctx, orderID) })
		if err == nil && changed == 0 {
			err = o.PlanRetry(ctx, orderID)
		}
		return "done", err
	})
}

// update runs a statement again after a deadlock with a process that records an outcome.
func (o Operator) update(ctx context.Context, statement func(*payments.Queries) (int64, error)) (changed int64, err error) {
	err = transaction.Run(ctx, o.DB, func(_ context.Context, tx *transaction.Tx) error {
		changed, err = statement(payments.New(tx))
		return err
	})
	return changed, err
}

// PlanRetry returns the error that Retry would return, and changes nothing.
func (o Operator) PlanRetry(ctx context.Context, orderID string) error {
	row, err := payments.New(o.DB).GetPayment(ctx, orderID)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("%w: order %s has none", ErrUnchanged, orderID)
	case err != nil:
		return fmt.Errorf("read the payment of order %s: %w", orderID, err)
	case Operations[row.Status] == "":
		return fmt.Errorf("%w: that of order %s is %s", ErrUnchanged, orderID, describe(row).State)
	}
	return nil
}

// One statement of RetryAll changes at most atOnce requests, and all of them at most maxRetried of each operation.
const (
	atOnce     = 500
	maxRetried = 1_000_000
)

// RetryAll makes all open requests due now, and returns the number of those that were not due before.
func (o Operator) RetryAll(ctx context.Context, reason string) (changed int64, err error) {
	err = o.recorded(ctx, operations.PaymentActionsActionRETRY, nil, "", reason, func(ctx context.Context) (string, error) {
		for status := range Operations {
			n, err := o.retryAll(ctx, status)
			if err != nil {
				return "", fmt.Errorf("make the payments due that are %s: %w", status, err)
			}
			changed += n
		}
		return fmt.Sprintf("%d payments are due", changed), nil
	})
	return changed, err
}

// retryAll ends after as many statements as the requests need that are open now: meanwhile others may get new waits.
func (o Operator) retryAll(ctx context.Context, status payments.PaymentsStatus) (changed int64, err error) {
	open, err := payments.New(o.DB).CountPayments(ctx, payments.CountPaymentsParams{Status: status, Limit: maxRetried})
	if err != nil {
		return 0, err
	}
	for left := open; left > 0; left -= atOnce {
		n, err := o.update(ctx, func(q *payments.Queries) (int64, error) {
			return q.RetryPayments(ctx, payments.RetryPaymentsParams{Status: status, Limit: atOnce})
		})
		if changed += n; err != nil || n == 0 {
			return changed, err
		}
	}
	return changed, nil
}

// Outcome returns the outcome of an action, as far as it is recorded.
func Outcome(a operations.PaymentAction) string {
	if a.Outcome == nil {
		return "not known"
	}
	return *a.Outcome
}

func (o Operator) actor() string { return oneline.Of(o.Actor, operations.MaxActor) }

// recorded records an action before it does it, and its outcome after, even if ctx has ended meanwhile. The two schemas may be
// on different servers one day, so no transaction spans them: an action without an outcome may have been done, and can be
// repeated.
func (o Operator) recorded(ctx context.Context, action operations.PaymentActionsAction, orderID *string, answer, detail string, do func(context.Context) (string, error)) error {
	q := operations.New(o.Operations)
	id, err := q.InsertPaymentAction(ctx, operations.InsertPaymentActionParams{
		OrderID: orderID, Action: action, Answer: answer, Detail: oneline.Of(detail, 500), Actor: o.actor(),
	})
	if err != nil {
		return fmt.Errorf("record %s (harness migrate creates the schema): %w", action, err)
	}
	outcome, failed := do(ctx)
	if failed != nil {
		outcome = oneline.Of(failed.Error(), 500)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err = q.SetPaymentOutcome(ctx, operations.SetPaymentOutcomeParams{Outcome: &outcome, ID: id}); err != nil {
		err = fmt.Errorf("record the outcome %q: %w", outcome, err)
	}
	return errors.Join(failed, err)
}
