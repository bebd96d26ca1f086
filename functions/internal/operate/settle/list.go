// Package settle lists payments for operators, settles those whose outcome at the gateway is unknown, and has the gateway asked
// again about them. It records each action in the schema operations.
package settle

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/orders/sql/operations"
	"example.com/orders/sql/payments"
)

// State is the state of a payment as an operator sees it.
type State string

// The states.
const (
	Unknown    State = "unknown"    // the gateway is or will be asked to authorize or to refund: REQUESTED and REFUND_REQUESTED
	Authorized State = "authorized" // the money is held
	Declined   State = "declined"   // nothing is held, and never will be
	Refunded   State = "refunded"   // the money was returned
	Void       State = "void"       // the order ended, and nothing was held
)

// States lists all states.
var States = []State{Unknown, Authorized, Declined, Refunded, Void}

// statuses maps the states to the statuses of their rows.
var statuses = map[State][]payments.PaymentsStatus{
	Unknown:    {payments.PaymentsStatusREQUESTED, payments.PaymentsStatusREFUNDREQUESTED},
	Authorized: {payments.PaymentsStatusAUTHORIZED},
	Declined:   {payments.PaymentsStatusDECLINED},
	Refunded:   {payments.PaymentsStatusREFUNDED},
	Void:       {payments.PaymentsStatusVOID},
}

// The operations at the gateway.
const (
	Authorize = "authorize"
	Refund    = "refund"
)

// Operations maps the statuses of an open request to what the gateway was asked for.
var Operations = map[payments.PaymentsStatus]string{
	payments.PaymentsStatusREQUESTED:       Authorize,
	payments.PaymentsStatusREFUNDREQUESTED: Refund,
}

// Payment is the payment of an order.
type Payment struct {
	OrderID   string
	State     State
	Operation string // what the gateway was asked for, Authorize or Refund, if the outcome is unknown
	Amount    int64  // in minor units
	Currency  string
	Reference string // the gateway's name of the authorization; empty if it is not known
	Reason    string // of the decline or the refund
	// Attempts, LastError and NextAttempt are those of the last request; NextAttempt is nil once its outcome is known. A
	// process that asks the gateway now has it in the future.
	Attempts    int
	LastError   string
	RequestedAt time.Time // since when the outcome is unknown, or was
	NextAttempt *time.Time
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

func describe(r payments.GetPaymentRow) Payment {
	p := Payment{
		OrderID: r.OrderID, Operation: Operations[r.Status], Amount: r.Amount, Currency: r.Currency, Reference: text(r.Reference),
		Reason: text(r.Reason), Attempts: r.Attempts, LastError: text(r.LastError), RequestedAt: r.RequestedAt, NextAttempt: r.NextAttemptAt,
		CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
	}
	for _, state := range States {
		if slices.Contains(statuses[state], r.Status) {
			p.State = state
		}
	}
	return p
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// Place is a payment's place in a list: after or before it the next page begins.
type Place struct {
	RequestedAt time.Time
	OrderID     string
}

// Begin and End are before and after every payment.
var (
	Begin = Place{RequestedAt: time.Unix(0, 0).UTC()}
	End   = Place{RequestedAt: time.Date(9999, time.December, 31, 0, 0, 0, 0, time.UTC), OrderID: "~"}
)

// PlaceOf returns the place of a payment.
func PlaceOf(p Payment) Place { return Place{p.RequestedAt, p.OrderID} }

// order compares payments by their places.
func order(a, b Payment) int {
	return cmp.Or(a.RequestedAt.Compare(b.RequestedAt), strings.Compare(a.OrderID, b.OrderID))
}

// ListUnknown returns at most limit payments whose outcome is unknown, the oldest first, after a place.
func ListUnknown(ctx context.Context, db *sql.DB, after Place, limit int) (found []Payment, err error) {
	for _, status := range statuses[Unknown] {
		rows, err := payments.New(db).ListOldestPayments(ctx, payments.ListOldestPaymentsParams{
			Status: status, AfterTime: after.RequestedAt, AfterID: after.OrderID, Limit: int32(limit),
		})
		if err != nil {
			return nil, fmt.Errorf("list the payments that are %s: %w", status, err)
		}
		for _, row := range rows {
			found = append(found, describe(payments.GetPaymentRow(row)))
		}
	}
	slices.SortFunc(found, order)
	return found[:min(limit, len(found))], nil
}

// ListNewest returns at most limit payments of some states, the newest request first, before a place.
func ListNewest(ctx context.Context, db *sql.DB, states []State, before Place, limit int) (found []Payment, err error) {
	for _, state := range states {
		for _, status := range statuses[state] {
			rows, err := payments.New(db).ListNewestPayments(ctx, payments.ListNewestPaymentsParams{
				Status: status, BeforeTime: before.RequestedAt, BeforeID: before.OrderID, Limit: int32(limit),
			})
			if err != nil {
				return nil, fmt.Errorf("list the payments that are %s: %w", status, err)
			}
			for _, row := range rows {
				found = append(found, describe(payments.GetPaymentRow(row)))
			}
		}
	}
	slices.SortFunc(found, func(a, b Payment) int { return order(b, a) })
	return found[:min(limit, len(found))], nil
}

// Tally counts the payments of each state. It scans an index.
func Tally(ctx context.Context, db *sql.DB) (map[State]int64, error) {
	rows, err := payments.New(db).TallyPayments(ctx)
	if err != nil {
		return nil, fmt.Errorf("count the payments: %w", err)
	}
	counts := map[State]int64{}
	for _, state := range States {
		counts[state] = 0
		for _, row := range rows {
			if slices.Contains(statuses[state], row.Status) {
				counts[state] += row.Payments
			}
		}
	}
	return counts, nil
}

// Waiting is the number of open requests of one operation, and the time since the oldest of them, 0 without one.
type Waiting struct {
	Requests int64
	Oldest   time.Duration
}

// Count counts the open requests by operation, up to a limit each, by the database's clock.
func Count(ctx context.Context, db *sql.DB, limit int32) (map[string]Waiting, error) {
	q := payments.New(db)
	counts := map[string]Waiting{}
	for status, operation := range Operations {
		n, err := q.CountPayments(ctx, payments.CountPaymentsParams{Status: status, Limit: limit})
		if err != nil {
			return nil, fmt.Errorf("count the payments that are %s: %w", status, err)
		}
		micros, err := q.OldestPayment(ctx, status)
		if err != nil {
			return nil, fmt.Errorf("read the oldest payment that is %s: %w", status, err)
		}
		counts[operation] = Waiting{n, time.Duration(max(0, micros)) * time.Microsecond}
	}
	return counts, nil
}

// Full is everything about a payment.
type Full struct {
	Payment

	Log     []payments.PaymentLog      // each change of the money that is held, oldest first
	Actions []operations.PaymentAction // of operators, newest first
}

// The largest numbers of entries and actions of a payment that are read. A payment has at most three entries.
const (
	maxEntries = 20
	maxActions = 100
)

// Show returns the payment of an order. Its error wraps ErrUnchanged if there is none.
func Show(ctx context.Context, db, record *sql.DB, orderID string) (full Full, err error) {
	row, err := payments.New(db).GetPayment(ctx, orderID)
	if errors.Is(err, sql.ErrNoRows) {
		return full, fmt.Errorf("%w: order %s has none", ErrUnchanged, orderID)
	}
	if err != nil {
		return full, fmt.Errorf("read the payment of order %s: %w", orderID, err)
	}
	full.Payment = describe(row)
	if full.Log, err = payments.New(db).ListPaymentLog(ctx, payments.ListPaymentLogParams{OrderID: orderID, Limit: maxEntries}); err != nil {
		return full, fmt.Errorf("read the log of the payment of order %s: %w", orderID, err)
	}
	full.Actions, err = operations.New(record).ListPaymentActions(ctx, operations.ListPaymentActionsParams{OrderID: &orderID, Limit: maxActions})
	if err != nil {
		return full, fmt.Errorf("read the actions on the payment of order %s (harness migrate creates the schema): %w", orderID, err)
	}
	return full, nil
}
