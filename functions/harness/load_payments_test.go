package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/sql/schema"
)

// judgePayments compares the gateway's ledger with the orders and with payments: the money of a confirmed order was
// authorized once, that of any other is returned or was never held, and no outcome is unknown.
func (l *load) judgePayments(ctx context.Context, d databases, statuses map[string]string, v *verdict) error {
	if l.ledger == nil {
		return nil
	}
	totals := map[string]int64{}
	if err := d.each(ctx, schema.Orders, "SELECT id, total_amount FROM orders", func(scan scanner) error {
		var id string
		var total int64
		err := scan(&id, &total)
		totals[id] = total
		return err
	}); err != nil {
		return err
	}
	holdings, err := readLedger(ctx, l.ledger)
	if err != nil {
		return err
	}
	for id, status := range statuses {
		h, held := holdings[id], int64(0)
		delete(holdings, id)
		if status == "CONFIRMED" {
			held = totals[id]
		}
		switch has := h.Authorized - h.Refunded; {
		case has < held:
			v.add(&v.lost, 1, "order %s is %s, and the gateway holds %d of %d", id, status, has, held)
		case has > held, h.Authorized > totals[id]:
			v.add(&v.doubled, 1, "order %s is %s and costs %d: the gateway has authorized %d and refunded %d", id, status, totals[id], h.Authorized, h.Refunded)
		}
	}
	for id, h := range holdings {
		v.add(&v.doubled, 1, "no order is %s, for which the gateway has authorized %d", id, h.Authorized)
	}
	return d.each(ctx, schema.Payments, "SELECT order_id, status FROM payments WHERE status IN ('PENDING', 'REQUESTED', 'REFUND_REQUESTED')", func(scan scanner) error {
		var id, status string
		err := scan(&id, &status)
		v.add(&v.lost, 1, "the payment of order %s is %s", id, status)
		return err
	})
}

// readLedger reads the holdings of all orders.
func readLedger(ctx context.Context, open func() (gateway.Ledger, error)) (map[string]gateway.Holding, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	ledger, err := open()
	if err != nil {
		return nil, err
	}
	holdings := map[string]gateway.Holding{}
	for after, more := "", true; more; more = after != "" {
		var page []gateway.Holding
		if page, after, err = ledger.Ledger(ctx, after, gateway.MaxPage); err != nil {
			return nil, err
		}
		for _, h := range page {
			holdings[h.OrderID] = h
		}
	}
	return holdings, nil
}

// ledger opens the ledger of the gateway of a stack with a running harness.
func (s stack) ledger() (gateway.Ledger, error) {
	run, err := readRun(s.data)
	if err != nil {
		return nil, err
	}
	return gateway.OpenLedger(run.variables(true))
}

// pays makes the orders of a stack be paid at a gateway, by default at a bank of the harness.
func (s stack) pays(t testing.TB, url string) stack {
	t.Helper()
	require.NotEmpty(t, s.data)
	s.environ = append(s.environ[:len(s.environ):len(s.environ)],
		"HARNESS_OVERLAY=payment", "PAYMENT_GATEWAY=http", "PAYMENT_GATEWAY_URL="+url, "PAYMENT_GATEWAY_TIMEOUT=1s")
	return s
}
