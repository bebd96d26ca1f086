package gateway

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"example.com/orders/events"
)

// Entry is one change of a book: an authorization or a refund, with its answer.
type Entry struct {
	Authorization *Authorization `json:"authorization,omitempty"`
	Refund        *Refund        `json:"refund,omitempty"`
	Answer        Answer         `json:"answer"`
}

// Holding is the money of one order: what was authorized, and what of it was refunded, in minor units.
type Holding struct {
	OrderID    string `json:"orderId"`
	Authorized int64  `json:"authorized"`
	Refunded   int64  `json:"refunded"`
	Currency   string `json:"currency"`
}

// Book is the memory of a gateway: what it was asked, and what it answered. It lets each key have one effect, and no money
// be held by an authorization whose refund was asked for. It keeps everything, so it grows with the orders.
type Book struct {
	// Record, if set, gets each new entry, in order, before any answer that follows from it. It must not use the book. Restore
	// calls it too: set it afterwards.
	Record func(Entry)
	// Trusting makes a refund that names a reference return the money even if the authorization is not in the book, as one
	// made by another process or before a restart.
	Trusting bool

	mu             sync.Mutex
	authorizations map[string]Entry
	refunds        map[string]Entry
	closed         map[string]Entry // the first refund for each key of an authorization
	holdings       []Holding        // by order id
}

// Authorize returns the answer to an authorization. It holds the amount, or declines for a reason that is not empty, if the
// key is new; fresh is whether it is. It returns a Refusal for values out of bounds, for a known key with another body, for
// a second currency of one order, and for a sum that is too large.
func (b *Book) Authorize(a Authorization, decline string) (answer Answer, fresh bool, err error) {
	if err := a.check(); err != nil {
		return Answer{}, false, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if known, ok := b.authorizations[a.Key]; ok {
		if *known.Authorization != a {
			return Answer{}, false, conflict("the key %s came with another order, amount or currency before", a.Key)
		}
		return known.Answer, false, nil
	}
	if _, ok := b.closed[a.Key]; ok {
		return Answer{Status: Closed, Currency: a.Currency}, false, nil
	}
	answer = Answer{Status: Authorized, Reference: reference("auth", a.Key), Amount: a.Amount, Currency: a.Currency}
	if decline != "" {
		answer = Answer{Status: Declined, Currency: a.Currency, Reason: decline}
	}
	if at, ok := b.find(a.OrderID); ok && answer.Status == Authorized {
		switch held := b.holdings[at]; {
		case held.Currency != a.Currency:
			return Answer{}, false, conflict("the order %s has money in another currency", a.OrderID)
		case held.Authorized > events.MaxTotal-a.Amount:
			return Answer{}, false, conflict("the amounts of the order %s sum up to more than an amount may be", a.OrderID)
		}
	}
	b.enter(Entry{Authorization: &a, Answer: answer})
	return answer, true, nil
}

// Refund returns the answer to a refund. If the key is new, and the authorization holds money, it returns that; if it holds
// none, it closes the authorization's key. fresh is whether the key is new. It returns a Refusal for values out of bounds,
// for a known key with another body, and for another amount or currency than that of the authorization.
func (b *Book) Refund(r Refund) (answer Answer, fresh bool, err error) {
	if err := r.check(); err != nil {
		return Answer{}, false, err
	}
	trusted := b.Trusting && r.Reference != ""
	r.Reference = "" // a repetition of the refund may have learned it in the meantime
	b.mu.Lock()
	defer b.mu.Unlock()
	if known, ok := b.refunds[r.Key]; ok {
		if *known.Refund != r {
			return Answer{}, false, conflict("the key %s came with another authorization, amount or currency before", r.Key)
		}
		return known.Answer, false, nil
	}
	_, returned := b.closed[r.AuthorizationKey]
	held, known := b.authorizations[r.AuthorizationKey]
	if known && (held.Authorization.Amount != r.Amount || held.Authorization.Currency != r.Currency) {
		return Answer{}, false, conflict("the authorization %s has another amount or currency: refund all of it", r.AuthorizationKey)
	}
	answer = Answer{Status: Nothing, Currency: r.Currency}
	if !returned && (held.Answer.Status == Authorized || !known && trusted) {
		answer = Answer{Status: Refunded, Reference: reference("ref", r.Key), Amount: r.Amount, Currency: r.Currency}
	}
	b.enter(Entry{Refund: &r, Answer: answer})
	return answer, true, nil
}

// Authorization returns what became of an authorization. Its key may have been closed before it came. It returns
// ErrUnknownKey for a key that the book does not have.
func (b *Book) Authorization(key string) (Answer, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if known, ok := b.authorizations[key]; ok {
		return known.Answer, nil
	}
	if by, ok := b.closed[key]; ok {
		return Answer{Status: Closed, Currency: by.Refund.Currency}, nil
	}
	return Answer{}, ErrUnknownKey
}

// RefundOf returns what became of a refund, by the refund's key; ErrUnknownKey for a key that the book does not have.
func (b *Book) RefundOf(key string) (Answer, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if known, ok := b.refunds[key]; ok {
		return known.Answer, nil
	}
	return Answer{}, ErrUnknownKey
}

// Holdings returns up to limit orders that had money authorized, in the order of their ids, from the first one after an id.
func (b *Book) Holdings(after string, limit int) []Holding {
	b.mu.Lock()
	defer b.mu.Unlock()
	at, ok := b.find(after)
	if ok {
		at++
	}
	return slices.Clone(b.holdings[at:min(len(b.holdings), at+limit)])
}

// Restore enters what was recorded before. It returns an error for an entry that cannot follow from those before it.
func (b *Book) Restore(e Entry) error {
	var answer Answer
	var fresh bool
	var err error
	switch {
	case e.Authorization != nil && e.Refund == nil:
		answer, fresh, err = b.Authorize(*e.Authorization, e.Answer.Reason)
	case e.Refund != nil && e.Authorization == nil:
		answer, fresh, err = b.Refund(*e.Refund)
	default:
		return errors.New("an entry is either an authorization or a refund")
	}
	if err == nil && (!fresh || answer != e.Answer) {
		err = fmt.Errorf("the entry says %+v, and follows as %+v from those before it", e.Answer, answer)
	}
	return err
}

// enter stores a new entry, under the lock.
func (b *Book) enter(e Entry) {
	if b.authorizations == nil {
		b.authorizations, b.refunds, b.closed = map[string]Entry{}, map[string]Entry{}, map[string]Entry{}
	}
	if e.Refund == nil {
		b.authorizations[e.Authorization.Key] = e
		if e.Answer.Status == Authorized {
			b.holding(*e.Authorization).Authorized += e.Answer.Amount
		}
	} else {
		b.refunds[e.Refund.Key] = e
		if _, ok := b.closed[e.Refund.AuthorizationKey]; !ok {
			b.closed[e.Refund.AuthorizationKey] = e
		}
		if held, ok := b.authorizations[e.Refund.AuthorizationKey]; ok && e.Answer.Status == Refunded {
			b.holding(*held.Authorization).Refunded += e.Answer.Amount
		}
	}
	if b.Record != nil {
		b.Record(e)
	}
}

// holding returns the holding of an authorization's order, a new one if it is the first.
func (b *Book) holding(a Authorization) *Holding {
	at, ok := b.find(a.OrderID)
	if !ok {
		b.holdings = slices.Insert(b.holdings, at, Holding{OrderID: a.OrderID, Currency: a.Currency})
	}
	return &b.holdings[at]
}

func (b *Book) find(orderID string) (at int, ok bool) {
	return slices.BinarySearchFunc(b.holdings, orderID, func(h Holding, id string) int { return cmp.Compare(h.OrderID, id) })
}

// reference returns the gateway's name of what it did for a key, the same each time.
func reference(kind, key string) string {
	sum := sha256.Sum256([]byte(kind + " " + key))
	return kind + "_" + hex.EncodeToString(sum[:12])
}

func conflict(format, value string) *Refusal {
	return &Refusal{http.StatusConflict, fmt.Sprintf(format, value)}
}
