package audit

import (
	"context"
	"fmt"
	"time"

	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/sql/payments"
)

// ledgerTime bounds the reading of one page of the ledger.
const ledgerTime = 10 * time.Second

// ledger reads the gateway's ledger, in the order of the ids.
type ledger struct {
	from  gateway.Ledger
	page  []gateway.Holding // read, and not taken yet
	after string
	ended bool
}

// until returns the holdings up to an order, which it reads after the snapshot.
func (l *ledger) until(ctx context.Context, last string) (taken []gateway.Holding, err error) {
	for {
		for len(l.page) > 0 && l.page[0].OrderID <= last {
			taken, l.page = append(taken, l.page[0]), l.page[1:]
		}
		if len(l.page) > 0 || l.ended {
			return taken, nil
		}
		bounded, cancel := context.WithTimeout(ctx, ledgerTime)
		l.page, l.after, err = l.from.Ledger(bounded, l.after, gateway.MaxPage)
		cancel()
		if err != nil {
			return nil, err
		}
		l.ended = l.after == ""
	}
}

// checkLedger compares the payments up to an order with the gateway's ledger.
//
// The ledger cannot be in the snapshot, and is read after it. It has at least what the payments of the snapshot say that the
// gateway did; it may have more. A request is committed before the gateway is asked: if money has moved since the snapshot,
// its row has changed since. So a difference is a breach if the row, read again after the ledger, is as it was.
func (a *auditor) checkLedger(ctx context.Context, page *views, last string) error {
	if !a.pays {
		return nil
	}
	if a.o.Ledger == nil {
		a.gateway.Skipped = gateway.ErrNoLedger.Error()
	} else if a.gateway.Skipped == "" {
		holdings, err := a.ledger.until(ctx, last)
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			a.gateway.Skipped = fmt.Sprintf("the gateway's ledger could not be read: %v", err)
		}
		for i := range holdings {
			page.of(holdings[i].OrderID).holding = &holdings[i]
		}
	}
	var differ []*view
	for _, v := range page.list {
		row, h := v.paid.row, v.holding
		switch {
		case row == nil && h == nil:
			continue
		case a.gateway.Skipped != "":
			a.gateway.count("left out", 1)
			continue
		case row != nil && a.open(row):
			a.gateway.count("unknown", 1)
		}
		a.gateway.count("orders", 1)
		if !agree(row, h) {
			differ = append(differ, v)
		}
	}
	return a.readAgain(ctx, differ)
}

// agree returns whether a holding is one that the gateway may have for a payment. Until the outcome of a request is recorded,
// the gateway may or may not have acted on it.
func agree(row *payments.ListPaymentsBetweenRow, h *gateway.Holding) bool {
	if row == nil {
		return h == nil
	}
	var authorized, refunded int64
	if h != nil {
		if authorized, refunded = h.Authorized, h.Refunded; h.Currency != row.Currency {
			return false
		}
	}
	if authorized != 0 && authorized != row.Amount {
		return false
	}
	switch row.Status {
	case payments.PaymentsStatusREQUESTED:
		return refunded == 0
	case payments.PaymentsStatusAUTHORIZED:
		return authorized == row.Amount && refunded == 0
	case payments.PaymentsStatusREFUNDREQUESTED:
		return authorized >= held(row) && (refunded == 0 || refunded == authorized)
	case payments.PaymentsStatusREFUNDED:
		return authorized == row.Amount && refunded == authorized
	default:
		return refunded == authorized
	}
}

// readAgain reads the payments of orders as they are now, and reports those that are as they were: see checkLedger.
func (a *auditor) readAgain(ctx context.Context, differ []*view) error {
	for _, v := range differ {
		moved, err := a.again.paymentMoved(ctx, v)
		if err != nil {
			return fmt.Errorf("read the payment of order %s again: %w", v.id, err)
		}
		if moved {
			a.gateway.count("in flight", 1)
			continue
		}
		a.gateway.breach("order %s: %s, and %s", v.id, ofRow(v.paid.row), ofLedger(v.holding))
	}
	return nil
}

func ofRow(row *payments.ListPaymentsBetweenRow) string {
	if row == nil {
		return "it has no payment"
	}
	return fmt.Sprintf("its payment of %d %s is %s", row.Amount, row.Currency, row.Status)
}

func ofLedger(h *gateway.Holding) string {
	if h == nil {
		return "the gateway's ledger does not have it"
	}
	return fmt.Sprintf("the gateway has authorized %d and refunded %d %s", h.Authorized, h.Refunded, h.Currency)
}
