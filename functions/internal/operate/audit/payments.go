package audit

import (
	"context"
	"fmt"
	"slices"
	"time"

	"example.com/orders/events"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/payments"
	"example.com/orders/sql/schema"
)

// unknownTime is how long the outcome of a request at the gateway may be unknown. It is asked about once a minute or more
// often.
const unknownTime = 15 * time.Minute

// paid is what the schema payments knows about an order.
type paid struct {
	row     *payments.ListPaymentsBetweenRow // nil if nobody has asked for the order's money
	log     []payments.ListPaymentLogBetweenRow
	entries map[payments.PaymentLogEntry]int
	sum     int64 // of the log: what is held, in minor units
}

func (a *auditor) readPayments(ctx context.Context, page *views, some chosen) error {
	if !a.pays {
		return nil
	}
	conn, err := a.snapshot.use(ctx, schema.Payments)
	if err != nil {
		return err
	}
	q := payments.New(conn)
	rows, err := read(ctx, some, q.ListPaymentsBetween, q.ListPaymentsOf, func(row payments.ListPaymentsOfRow) payments.ListPaymentsBetweenRow {
		return payments.ListPaymentsBetweenRow(row)
	})
	if err != nil {
		return fmt.Errorf("read the payments: %w", err)
	}
	for i := range rows {
		page.of(rows[i].OrderID).paid.row = &rows[i]
	}
	log, err := read(ctx, some, q.ListPaymentLogBetween, q.ListPaymentLogOf, func(row payments.ListPaymentLogOfRow) payments.ListPaymentLogBetweenRow {
		return payments.ListPaymentLogBetweenRow(row)
	})
	if err != nil {
		return fmt.Errorf("read the log of the payments: %w", err)
	}
	for _, entry := range log {
		p := &page.of(entry.OrderID).paid
		if p.entries == nil {
			p.entries = map[payments.PaymentLogEntry]int{}
		}
		p.log = append(p.log, entry)
		p.entries[entry.Entry]++
		p.sum += entry.Amount
	}
	page.paymentLog += len(log)
	return nil
}

// checkPayment compares what is held for an order with its status, and with the log.
func (a *auditor) checkPayment(v *view) {
	if !a.pays {
		return
	}
	if row := v.paid.row; row != nil {
		a.checkFacts(events.PaymentsSource, v.id, row.Version, row.CreatedAt, row.UpdatedAt)
		a.logs.count(string(row.Status), 1)
		if v.order == nil {
			a.differAcross(v, a.money, "order %s was never accepted and its payment is %s", v.id, row.Status)
		}
		if a.open(row) && row.RequestedAt.Before(a.at.Add(-unknownTime-a.o.Grace)) {
			// No exception explains this: a sweep asks the gateway, whatever happens to the order's events.
			a.money.breach("order %s: its payment is %s since %s, and what the gateway did about it is unknown", v.id, row.Status, row.RequestedAt.Format(time.RFC3339))
		}
	}
	a.checkLog(v)
	if v.order != nil {
		a.checkMoney(v)
	}
}

// open returns whether the outcome of a payment at the gateway is unknown.
func (a *auditor) open(row *payments.ListPaymentsBetweenRow) bool {
	return row.Status == payments.PaymentsStatusREQUESTED || row.Status == payments.PaymentsStatusREFUNDREQUESTED
}

// held returns what a payment says is held. A refund without a reference is of an authorization that nobody has recorded.
func held(row *payments.ListPaymentsBetweenRow) int64 {
	if row.Status == payments.PaymentsStatusAUTHORIZED || row.Status == payments.PaymentsStatusREFUNDREQUESTED && row.Reference != nil {
		return row.Amount
	}
	return 0
}

// checkLog checks that the log explains the payment. Both are written by one transaction, so nothing is in flight here.
func (a *auditor) checkLog(v *view) {
	row, p := v.paid.row, v.paid
	if row == nil {
		if len(p.log) > 0 {
			a.logs.breach("order %s is in payment_log with %d and has no payment", v.id, p.sum)
		}
		return
	}
	if row.Status == payments.PaymentsStatusPENDING {
		a.logs.breach("order %s: its payment is PENDING, which no transaction commits", v.id)
	}
	for _, entry := range p.log {
		want := map[payments.PaymentLogEntry]int64{payments.PaymentLogEntryAUTHORIZED: row.Amount, payments.PaymentLogEntryREFUNDED: -row.Amount}[entry.Entry]
		if entry.Amount != want || entry.Currency != row.Currency {
			a.logs.breach("order %s: payment_log has %s with %d %s, and the payment is of %d %s", v.id, entry.Entry, entry.Amount, entry.Currency, row.Amount, row.Currency)
		}
	}
	for _, entry := range []payments.PaymentLogEntry{payments.PaymentLogEntryAUTHORIZED, payments.PaymentLogEntryDECLINED, payments.PaymentLogEntryREFUNDED, payments.PaymentLogEntryVOID} {
		if n := p.entries[entry]; n > 1 {
			a.once.breach("the payment of order %s is %s %d times in payment_log", v.id, entry, n)
		}
	}
	a.once.count("authorizations", p.entries[payments.PaymentLogEntryAUTHORIZED])
	a.once.count("refunds", p.entries[payments.PaymentLogEntryREFUNDED])
	if p.sum != held(row) {
		a.logs.breach("order %s: its payment is %s and holds %d, and payment_log has %d", v.id, row.Status, held(row), p.sum)
	} else if missing := missingEntry(row, p); missing != "" {
		a.logs.breach("order %s: its payment is %s, and payment_log does not have %s", v.id, row.Status, missing)
	}
	// A payment that was refunded before it was asked for does not know what the order costs.
	if v.order != nil && row.Currency != "" && row.Amount != v.order.TotalAmount {
		a.logs.breach("order %s: its total is %d and its payment is of %d", v.id, v.order.TotalAmount, row.Amount)
	}
}

// missingEntry returns the entry that the log must have for the payment's status, empty if it has it.
func missingEntry(row *payments.ListPaymentsBetweenRow, p paid) payments.PaymentLogEntry {
	for _, entry := range map[payments.PaymentsStatus][]payments.PaymentLogEntry{
		payments.PaymentsStatusAUTHORIZED: {payments.PaymentLogEntryAUTHORIZED},
		payments.PaymentsStatusDECLINED:   {payments.PaymentLogEntryDECLINED},
		payments.PaymentsStatusREFUNDED:   {payments.PaymentLogEntryAUTHORIZED, payments.PaymentLogEntryREFUNDED},
		payments.PaymentsStatusVOID:       {payments.PaymentLogEntryVOID},
	}[row.Status] {
		if p.entries[entry] == 0 {
			return entry
		}
	}
	return ""
}

// checkMoney compares what is held with the status of the order. Every transaction that confirms an order follows the one that
// records its authorization, and every one that requests a refund follows the end of the order; so only the steps in between
// are in flight.
func (a *auditor) checkMoney(v *view) {
	row, status := v.paid.row, v.order.Status
	if row == nil {
		switch {
		case status == orders.OrdersStatusPENDING: // checkOrder looks after its time
		case a.inFlight(v):
			a.money.count("in flight", 1)
		case v.order.CreatedAt.Before(a.at.Add(-a.o.SentRetention)):
			a.money.count("without a payment, from before the retention", 1) // such as from before orders were paid
		default:
			a.differAcross(v, a.money, "order %s is %s and has no payment", v.id, status)
		}
		return
	}
	a.money.count(string(status), 1)
	switch status {
	case orders.OrdersStatusPENDING:
		if over(row) {
			a.breachAcross(v, a.money, "order %s is PENDING and its payment is %s", v.id, row.Status)
		}
		if v.holds() && v.paid.entries[payments.PaymentLogEntryAUTHORIZED] == 0 && v.reservation.CreatedAt.After(row.CreatedAt) {
			a.breachAcross(v, a.money, "order %s is PENDING and holds stock, and its payment is %s", v.id, row.Status)
		}
	case orders.OrdersStatusCONFIRMED:
		switch {
		case row.Status == payments.PaymentsStatusAUTHORIZED:
		case row.Status == payments.PaymentsStatusREQUESTED && row.CreatedAt.After(v.order.UpdatedAt):
			// Payments were switched on after its confirmation; authorize-payment reads its topic from the beginning.
			a.money.count("confirmed before payments", 1)
		default:
			a.breachAcross(v, a.money, "order %s is CONFIRMED and its payment is %s", v.id, row.Status)
		}
	case orders.OrdersStatusFAILED, orders.OrdersStatusCANCELED:
		switch {
		case over(row), row.Status == payments.PaymentsStatusDECLINED:
		case a.inFlight(v):
			a.money.count("in flight", 1)
		default:
			a.differAcross(v, a.money, "order %s is %s and its payment is %s", v.id, status, row.Status)
		}
	}
}

// over returns whether a payment is or was ended by the end of its order.
func over(row *payments.ListPaymentsBetweenRow) bool {
	switch row.Status {
	case payments.PaymentsStatusREFUNDREQUESTED, payments.PaymentsStatusREFUNDED, payments.PaymentsStatusVOID:
		return true
	default:
		return false
	}
}

// holds returns whether an order holds units of any SKU.
func (v *view) holds() bool {
	return v.reservation != nil && slices.ContainsFunc(v.lines, func(l line) bool { return l.held != 0 })
}
