package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
)

// customer returns the address of an order by the API.
func (p *process) customer(t *testing.T, id string) string {
	t.Helper()
	var answer struct {
		CustomerEmail string `json:"customerEmail"`
	}
	require.Equal(t, http.StatusOK, p.get(t, "/api/orders/"+id, &answer))
	return answer.CustomerEmail
}

// TestACustomerIsForgotten places orders, forgets who placed them, and looks for the address in the API, the log and the topics,
// whose records are consumed once more.
func TestACustomerIsForgotten(t *testing.T) {
	t.Parallel()
	const email, forget = "alice@example.com", "forget --email Alice@Example.com"
	s := newStack(t)
	p := s.up(t)
	confirmed, canceled := p.place(t, "SKU-123", 2), p.place(t, "SKU-123", 1)
	for _, o := range []order{confirmed, canceled} {
		p.awaitStatus(t, o.OrderID, "CONFIRMED")
	}
	require.Equal(t, http.StatusOK, p.do(t, http.MethodPost, "/api/orders/"+canceled.OrderID+"/cancel", nil, "", nil))
	p.awaitLog(t, canceled.OrderID+" is CANCELED")

	s.operate(t, "either --email or --owner", "forget --yes")
	s.operate(t, "add --dry-run", forget)
	var seen string
	p.await(t, "nothing is under way", func() bool {
		dry := launch(t, s.environ, append(strings.Fields(forget+" --dry-run"), "--data", s.data)...)
		<-dry.ended
		seen = dry.stdout.String()
		return dry.err == nil
	})
	assert.Contains(t, seen, "orders.orders: 2 rows would be changed")
	assert.Equal(t, email, p.customer(t, confirmed.OrderID))

	done := s.operate(t, "", forget+" --yes", "--reason", "asked for by alice@example.com")
	assert.Contains(t, done, "orders.orders: 2 rows changed")
	assert.Contains(t, done, "notifications.notifications: 3 rows changed")
	assert.Contains(t, done, "of 2 orders changed")
	for _, topic := range []string{"order.created", "order.confirmed", "order.canceled"} {
		assert.Contains(t, done, s.topicPrefix()+topic+" ", "Kafka keeps its records, and the command says until when")
	}
	assert.Contains(t, done, "GONE BY")
	assert.Equal(t, events.Forgotten, p.customer(t, confirmed.OrderID))
	assert.Contains(t, s.operate(t, "", forget+" --yes"), "0 rows of 0 orders changed", "it can be repeated")
	p.audit(t)

	// What Kafka still has about the customer is consumed again: nothing of it comes back.
	again := p.topics(t).All(t, s.topicPrefix()+"order.confirmed")
	for _, m := range again {
		assert.Contains(t, string(m.Value), email)
		header := http.Header{"Content-Type": {"application/json"}}
		for _, h := range m.Headers {
			if name, ok := strings.CutPrefix(string(h.Key), "ce_"); ok {
				header.Set("ce-"+name, strings.ReplaceAll(string(h.Value), "#", "%23"))
			}
		}
		assert.Less(t, p.do(t, http.MethodPost, "/functions/notify", header, string(m.Value), nil), 300)
	}
	assert.Len(t, again, 2)
	assert.Contains(t, s.operate(t, "", forget+" --dry-run"), "0 rows of 0 orders would be changed")

	// A forgotten order can still be canceled, and sends no mail.
	require.Equal(t, http.StatusOK, p.do(t, http.MethodPost, "/api/orders/"+confirmed.OrderID+"/cancel", nil, "", nil))
	p.awaitLog(t, "outcome=forgotten")
	p.stop(t)
	for line := range strings.Lines(p.log.String()) {
		if strings.HasPrefix(line, "time=") { // the rest tells people what to try, with a made-up address
			assert.NotContains(t, line, email, "the log has masked addresses only")
		}
	}
}
