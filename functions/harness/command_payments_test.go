package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/porttest"
)

// placeAt places an order of one unit at a price.
func (p *process) placeAt(t testing.TB, price int) (o order) {
	t.Helper()
	body := fmt.Sprintf(`{"customerEmail":"alice@example.com","items":[{"sku":"SKU-123","quantity":1,"unitPrice":%d}]}`, price)
	require.Equal(t, http.StatusCreated, p.do(t, http.MethodPost, "/api/orders", nil, body, &o))
	return o
}

// TestOperatorsSettlePayments has a gateway that does not answer: one authorization is settled as held, another one as declined,
// and all are asked about again.
func TestOperatorsSettlePayments(t *testing.T) {
	s := newStack(t)
	s.environ = append(s.environ, "PAYMENT_GATEWAY=http", "PAYMENT_GATEWAY_URL=http://"+porttest.Address(t))
	p := s.up(t, "--overlay", "payment")
	list := func(args ...string) []paymentView {
		return lines[paymentView](t, s.operate(t, "", "payments list --json", args...))
	}
	held := p.place(t, "SKU-123", 1).OrderID
	p.await(t, "its payment is the oldest", func() bool { return len(list()) == 1 })
	declined := p.place(t, "SKU-123", 2).OrderID
	p.await(t, "the gateway was asked about two payments", func() bool {
		found := list()
		return len(found) == 2 && found[0].LastError != "" && found[1].LastError != ""
	})
	first := list("--limit", "1")
	require.Len(t, first, 1)
	assert.Equal(t, held, first[0].OrderID, "the oldest")
	assert.Equal(t, []any{"unknown", "authorize", int64(1299), "EUR"}, []any{first[0].State, first[0].Operation, first[0].Amount, first[0].Currency})
	assert.NotNil(t, first[0].NextAttempt)
	assert.Regexp(t, `unknown \(authorize\) +1299 EUR`, s.operate(t, "", "payments list"))
	assert.Contains(t, s.operate(t, "", "payments list --state authorized,declined"), "0 payments")

	s.operate(t, "say what became of the request", "payments settle", held)
	s.operate(t, "needs the gateway's reference", "payments settle --as authorized", held)
	s.operate(t, "none of authorized", "payments settle --as maybe", held)
	s.operate(t, "is no order id", "payments settle --as nothing", "17")
	s.operate(t, "wants the id of an ORDER", "payments settle --as nothing")
	s.operate(t, "the payment was not changed", "payments settle --as nothing", held)
	s.operate(t, "the payment was not changed", "payments settle --as nothing", functiontest.OrderID())
	s.operate(t, "the payment was not changed", "payments show", functiontest.OrderID())
	s.operate(t, "[unknown authorized declined refunded void]", "payments list --state lost")
	s.operate(t, "give 1 or more", "payments list --limit 0")
	assert.Contains(t, s.operate(t, "", "payments settle --dry-run --as authorized --reference ch_1", held), "would be recorded as held under ch_1")
	assert.Len(t, list(), 2, "a dry run changes nothing")

	s.operate(t, "select payments", "payments retry")
	s.operate(t, "select payments", "payments retry --all", held)
	assert.Contains(t, s.operate(t, "", "payments retry --all --dry-run"), "2 payments would be due")
	assert.Contains(t, s.operate(t, "", "payments retry --dry-run", held), "would be due")
	assert.Contains(t, s.operate(t, "", "payments retry --reason again", held), "is due")
	assert.Contains(t, s.operate(t, "", "payments retry --all --reason again"), "due: the gateway is asked at the next tick")

	assert.Contains(t, s.operate(t, "", "payments settle --actor carol --reason", "seen on its pages", "--as", "authorized", "--reference", "ch_1", held), "is recorded as held under ch_1")
	s.operate(t, "", "payments settle --actor carol --as declined --decline-reason card_declined", declined)
	p.awaitStatus(t, held, "CONFIRMED")
	p.awaitStatus(t, declined, "FAILED")
	assert.Equal(t, "card_declined", p.order(t, declined).Reason)
	s.operate(t, "the payment was not changed", "payments retry", held)
	s.operate(t, "the payment was not changed", "payments settle --as authorized --reference ch_2", held)
	p.await(t, "the gateway is asked to return what it may hold of the declined payment", func() bool {
		found := list()
		return len(found) == 1 && found[0].OrderID == declined && found[0].Operation == "refund"
	})
	assert.Len(t, list("--state", "all"), 2)

	full := lines[fullPaymentView](t, s.operate(t, "", "payments show --json", strings.ToUpper(held)))
	require.Len(t, full, 1)
	assert.EqualValues(t, 1299, full[0].Held)
	require.Len(t, full[0].Log, 1)
	assert.Equal(t, []any{"AUTHORIZED", "ch_1", "carol"}, []any{full[0].Log[0].Entry, full[0].Log[0].Reference, full[0].Log[0].Actor})
	shown := s.operate(t, "", "payments show", held)
	for _, part := range []string{
		"state      authorized", "held       1299 EUR", "AUTHORIZED +1299 EUR by carol ch_1", "SETTLE authorized as ch_1 by carol: done, seen on its pages",
		"the payment was not changed",
	} {
		assert.Contains(t, shown, part)
	}
}

func TestCommandsAboutPaymentsSayHowToHaveThem(t *testing.T) {
	s := newStack(t)
	p := s.up(t)
	for _, command := range []string{"payments list", "payments retry --all"} {
		s.operate(t, "start the harness with --overlay payment", command)
	}
	p.stop(t)
}
