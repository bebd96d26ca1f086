// Package payment is the state machine of a payment. A transaction stores the request to authorize or to refund an order's
// money; after its commit the gateway is asked, and another transaction records the answer with its fact. A request without
// an answer stays, and is asked about again until there is one.
package payment

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/sql/payments"
)

// Request is a stored request whose outcome is unknown: to authorize (REQUESTED) or to refund (REFUND_REQUESTED).
type Request struct {
	OrderID   string
	Status    payments.PaymentsStatus
	Amount    int64
	Currency  string
	Reference string // of the authorization; empty if it is not recorded
	Reason    string // of the refund
	Attempts  int
	Items     []events.Item
	Cause     events.Cause
	first     bool // nobody has asked the gateway yet
}

// key returns the idempotency key of the request, the same at each attempt.
func (r Request) key() string {
	if r.Status == payments.PaymentsStatusREQUESTED {
		return gateway.AuthorizationKey(r.OrderID)
	}
	return gateway.RefundKey(r.OrderID)
}

// requestOf returns the request that a row holds.
func requestOf(row payments.LockPaymentsRow) (Request, error) {
	r := Request{
		OrderID: row.OrderID, Status: row.Status, Amount: row.Amount, Currency: row.Currency,
		Reference: text(row.Reference), Reason: text(row.Reason), Attempts: row.Attempts,
	}
	if err := json.Unmarshal([]byte(row.Items), &r.Items); err != nil {
		return r, fmt.Errorf("decode the items of the payment of order %s: %w", row.OrderID, err)
	}
	if err := json.Unmarshal([]byte(row.Cause), &r.Cause); err != nil {
		return r, fmt.Errorf("decode the cause of the payment of order %s: %w", row.OrderID, err)
	}
	return r, nil
}

func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // items and causes have only strings and numbers
	}
	return string(b)
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func column(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// The waits before a request is asked about again.
const (
	// lease is how long a process that asks the gateway has the request for itself. It is longer than an attempt takes; if it
	// is too short, two ask with the same key.
	lease     = 15 * time.Second
	firstWait = time.Second
	longest   = time.Minute
	// recovery is the wait after a gateway was not asked, since it is known to be away.
	recovery = 2 * time.Second
)

// backoff returns the wait after an attempt, from 1: doubled from firstWait up to longest, with half of it at random.
func backoff(attempt int) time.Duration {
	wait := longest
	if doublings := max(attempt, 1) - 1; doublings < 6 {
		wait = firstWait << doublings
	}
	return wait/2 + rand.N(wait/2)
}
