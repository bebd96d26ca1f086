package payment

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/sql/payments"
)

func TestTheWaitDoublesUpToAMinuteWithHalfOfItAtRandom(t *testing.T) {
	for attempt, most := range map[int]time.Duration{
		0: time.Second, 1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 6: 32 * time.Second, 7: time.Minute, 1000: time.Minute,
	} {
		for range 100 {
			wait := backoff(attempt)
			assert.GreaterOrEqual(t, wait, most/2, "attempt %d", attempt)
			assert.Less(t, wait, most, "attempt %d", attempt)
		}
	}
	one, another := backoff(1000), backoff(1000)
	assert.NotEqual(t, one, another, "two requests do not wait for the same moment")
}

func TestOnlyAnAnswerThatFitsTheRequestIsTaken(t *testing.T) {
	authorize := Request{Status: payments.PaymentsStatusREQUESTED, Amount: 5, Currency: "EUR"}
	refund := Request{Status: payments.PaymentsStatusREFUNDREQUESTED, Amount: 5, Currency: "EUR", Reference: "auth"}
	unknown := refund // the outcome of its authorization is unknown
	unknown.Reference = ""
	moved := func(s gateway.Status) gateway.Answer {
		return gateway.Answer{Status: s, Reference: "ref", Amount: 5, Currency: "EUR"}
	}
	for name, c := range map[string]struct {
		request Request
		answer  gateway.Answer
		says    string // empty if it is taken
	}{
		"authorized":                         {authorize, moved(gateway.Authorized), ""},
		"declined":                           {authorize, gateway.Answer{Status: gateway.Declined, Reason: "card_declined"}, ""},
		"closed":                             {authorize, gateway.Answer{Status: gateway.Closed}, ""},
		"refunded":                           {refund, moved(gateway.Refunded), ""},
		"nothing to refund":                  {unknown, gateway.Answer{Status: gateway.Nothing}, ""},
		"another amount":                     {authorize, gateway.Answer{Status: gateway.Authorized, Reference: "ref", Amount: 6, Currency: "EUR"}, "about 6 EUR"},
		"another currency":                   {refund, gateway.Answer{Status: gateway.Refunded, Reference: "ref", Amount: 5, Currency: "USD"}, "about 5 USD"},
		"no reference":                       {authorize, gateway.Answer{Status: gateway.Authorized, Amount: 5, Currency: "EUR"}, "not valid"},
		"a reference that no event may have": {refund, gateway.Answer{Status: gateway.Refunded, Reference: "a b", Amount: 5, Currency: "EUR"}, "not valid"},
		"a refund of nothing that is known":  {unknown, moved(gateway.Refunded), "does not know"},
		"nothing, of what the log holds":     {refund, gateway.Answer{Status: gateway.Nothing}, "settle the payment by hand"},
		"a refund for an authorization":      {authorize, moved(gateway.Refunded), "does not fit"},
		"an authorization for a refund":      {refund, moved(gateway.Authorized), "does not fit"},
		"a decline for a refund":             {refund, gateway.Answer{Status: gateway.Declined}, "does not fit"},
		"nothing for an authorization":       {authorize, gateway.Answer{Status: gateway.Nothing}, "does not fit"},
		"no status":                          {authorize, gateway.Answer{}, "does not fit"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.request.check(c.answer)
			if c.says == "" {
				assert.NoError(t, err)
				return
			}
			assert.ErrorContains(t, err, c.says)
		})
	}
}
