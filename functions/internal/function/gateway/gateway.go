// Package gateway asks a payment gateway to hold and to return money. It takes authorizations and refunds, each with an
// idempotency key that never changes, and returns what the gateway answered. The gateway is simulated in this process, or is
// reached by HTTP; the contract is the OpenAPI description of the package operate/bank.
package gateway

import (
	"context"
	"errors"
)

// Authorization asks to hold money for an order.
type Authorization struct {
	Key      string `json:"key"` // 1 to 128 of A-Z, a-z, 0-9, '.', '_', ':' and '-'
	OrderID  string `json:"orderId"`
	Amount   int64  `json:"amount"`   // in minor units, 0 to events.MaxTotal
	Currency string `json:"currency"` // ISO 4217
}

// Refund asks to return the money that an authorization holds, all of it.
type Refund struct {
	Key              string `json:"key"`
	AuthorizationKey string `json:"authorization"`
	Reference        string `json:"-"`      // of the authorization; empty if its outcome is unknown
	Amount           int64  `json:"amount"` // of the authorization
	Currency         string `json:"currency"`
}

// Status says what became of an authorization or a refund.
type Status string

// The statuses of an authorization, and below them those of a refund.
const (
	Authorized Status = "authorized" // the amount is held
	Declined   Status = "declined"   // nothing is held, for the Reason
	Closed     Status = "closed"     // its refund came first: nothing is held and never will be

	Refunded Status = "refunded" // the amount was returned
	Nothing  Status = "nothing"  // nothing was held; the authorization's key is closed
)

// Answer is the final answer of a gateway to an authorization or a refund.
type Answer struct {
	Status    Status `json:"status"`
	Reference string `json:"reference,omitempty"` // the gateway's own name of what it did; empty if it moved no money
	Amount    int64  `json:"amount"`              // what was held or returned, in minor units; 0 unless Authorized or Refunded
	Currency  string `json:"currency"`
	Reason    string `json:"reason,omitempty"` // why, such as card_declined, if Declined
}

// ErrUnknownKey means that the gateway has not seen a key. It may still see it later, from a request that is under way.
var ErrUnknownKey = errors.New("the payment gateway does not know the key")

// Gateway holds and returns money. Any error but ErrUnknownKey leaves the outcome unknown, unless IsNotAsked is true for it:
// ask again with the same key, or look the key up. All methods are safe for concurrent use.
type Gateway interface {
	// Authorize holds the amount. The same key gets the same answer and has no second effect.
	Authorize(ctx context.Context, a Authorization) (Answer, error)
	// Refund returns what the authorization holds. If nothing is held, it closes the authorization's key, so that a later
	// authorization with it is answered Closed. The same key gets the same answer and has no second effect.
	Refund(ctx context.Context, r Refund) (Answer, error)
	// Lookup returns the answer that an authorization or a refund got or would get, by its key. It returns ErrUnknownKey if
	// the gateway has not seen the key.
	Lookup(ctx context.Context, key string) (Answer, error)
}

// AuthorizationKey returns the key of the authorization for an order.
func AuthorizationKey(orderID string) string { return orderID + authorizeSuffix }

// RefundKey returns the key of the refund for an order.
func RefundKey(orderID string) string { return orderID + refundSuffix }

const (
	authorizeSuffix = ".authorize"
	refundSuffix    = ".refund"
)

// IsNotAsked returns whether err means that the gateway was not asked, or did nothing about the request and said so: the
// request had no effect, and its outcome is what it was before.
func IsNotAsked(err error) bool {
	_, ok := errors.AsType[notAsked](err)
	return ok
}

// notAsked is an error of a request that had no effect.
type notAsked struct{ error }

func (e notAsked) Unwrap() error { return e.error }
