package gateway

import (
	"fmt"
	"net/http"
	"regexp"

	"example.com/orders/events"
)

// ValidKey returns whether a key, an order id or a cursor has 1 to 128 of A-Z, a-z, 0-9, '.', '_', ':' and '-'.
func ValidKey(key string) bool { return key != "." && key != ".." && events.ValidCorrelationID(key) }

// ValidCurrency returns whether a currency looks like a code of ISO 4217.
func ValidCurrency(currency string) bool { return currencies.MatchString(currency) }

// ValidAmount returns whether an amount is within 0 to events.MaxTotal minor units.
func ValidAmount(amount int64) bool { return amount >= 0 && amount <= events.MaxTotal }

var currencies = regexp.MustCompile(`^[A-Z]{3}$`)

// check returns a Refusal unless all values are within their bounds.
func (a Authorization) check() error {
	if !ValidKey(a.OrderID) {
		return invalid("the order id %q", a.OrderID)
	}
	return checkMoney(a.Key, a.Amount, a.Currency)
}

// check returns a Refusal unless all values are within their bounds.
func (r Refund) check() error {
	if !ValidKey(r.AuthorizationKey) {
		return invalid("the key %q of the authorization", r.AuthorizationKey)
	}
	return checkMoney(r.Key, r.Amount, r.Currency)
}

func checkMoney(key string, amount int64, currency string) error {
	switch {
	case !ValidKey(key):
		return invalid("the key %q", key)
	case !ValidAmount(amount):
		return invalid("the amount %d", amount)
	case !ValidCurrency(currency):
		return invalid("the currency %q", currency)
	}
	return nil
}

func invalid(format string, value any) *Refusal {
	return &Refusal{http.StatusBadRequest, fmt.Sprintf(format+" is outside of the bounds", value)}
}
