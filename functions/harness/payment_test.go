package main

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// placeFor places an order of one unit of SKU-123 at a price, in minor units.
func (p *process) placeFor(t testing.TB, price int64) (o order) {
	t.Helper()
	body := fmt.Sprintf(`{"customerEmail":"alice@example.com","items":[{"sku":"SKU-123","quantity":1,"unitPrice":%d}]}`, price)
	require.Equal(t, http.StatusCreated, p.do(t, http.MethodPost, "/api/orders", nil, body, &o))
	return o
}

func TestAnOrderIsPaidBeforeItsStockIsReserved(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	p := s.up(t, "--overlay", "payment")

	paid, declined := p.placeFor(t, 1299), p.placeFor(t, 1201)

	p.awaitStatus(t, paid.OrderID, "CONFIRMED")
	p.awaitStatus(t, declined.OrderID, "FAILED")
	assert.Equal(t, "card_declined", p.order(t, declined.OrderID).Reason)
	assert.Equal(t, level{99, 1}, p.level(t, "SKU-123"))
	require.Equal(t, http.StatusOK, p.do(t, http.MethodPost, "/api/orders/"+paid.OrderID+"/cancel", nil, "", nil))
	topics := p.topics(t)
	refunded := topics.Records(t, topics.Prefix+"payment.refunded", 1)[0]
	assert.Equal(t, paid.OrderID, string(refunded.Key))
	p.await(t, "the stock is back", func() bool { return p.level(t, "SKU-123") == level{100, 0} })
	p.audit(t)
	p.stop(t)
	assert.NotContains(t, p.log.String(), "level=ERROR")
}

func TestCommandsActOnTheOverlayOfTheHarnessOnTheirData(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	p := s.up(t, "--overlay", "payment")
	var info struct {
		Overlay   string
		Functions []string
	}
	require.Equal(t, http.StatusOK, p.get(t, "/info", &info))
	assert.Equal(t, "payment", info.Overlay)
	assert.Subset(t, info.Functions, []string{"authorize-payment", "refund-payment", "publish-outbox-payments"})
	assert.Contains(t, p.log.String(), "wiring     knative/overlays/payment")
	p.produce(t, s, "payment.declined", "1", `{}`)

	letters := p.awaitLetters(t, s, 1)

	assert.Equal(t, s.topicPrefix()+"payment.declined.dlq", letters[0].Topic)
	p.stop(t)
	assert.Contains(t, s.operate(t, "", "deadletters list --consumer finalize-order"), "payment.declined", "after its end, too")
	other := launch(t, append(slices.Clone(s.environ), "HARNESS_OVERLAY=base"), "outbox", "list", "--data", s.data)
	<-other.ended
	assert.Equal(t, exitUsage, other.exitCode(t))
	assert.Contains(t, other.log.String(), `HARNESS_OVERLAY is "base" here and "payment" there`)
}

func TestAHarnessWithoutTheOverlayOfItsDataRefusesToLeaveEventsUnread(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	p := s.up(t, "--overlay", "payment")
	o := p.placeFor(t, 1299)
	p.awaitStatus(t, o.OrderID, "CONFIRMED")
	p.stop(t)

	refused := launch(t, s.environ, "up", "--data", s.data, "--addr", "127.0.0.1:0")
	select {
	case <-refused.ended:
	case <-time.After(time.Minute):
		require.FailNow(t, "the harness has started")
	}

	assert.Equal(t, exitUsage, refused.exitCode(t))
	assert.Contains(t, refused.log.String(), "start with --overlay payment (or HARNESS_OVERLAY=payment), or with --overlay base")
	assert.Contains(t, refused.log.String(), "nothing reads the topics "+s.topicPrefix()+"payment.authorized")
	base := s.up(t, "--overlay", "base")
	base.awaitLog(t, "topics of another overlay are left unread")
	base.stop(t)
	s.environ = append(s.environ, "HARNESS_OVERLAY=payment")
	again := s.up(t)
	assert.NotContains(t, again.log.String(), "left unread")
	next := again.placeFor(t, 1299)
	again.awaitStatus(t, next.OrderID, "CONFIRMED")
}

func TestAnUnknownOverlayIsRefused(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"up", "--overlay", "money"}, {"audit", "--overlay", "local"}} {
		p := launch(t, nil, append(args, "--data", t.TempDir())...)
		<-p.ended
		assert.Equal(t, exitUsage, p.exitCode(t))
		assert.Contains(t, p.log.String(), "give base or cdc or cdc-payment or payment")
	}
}
