package createorder

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"example.com/orders/events"
	"example.com/orders/events/strictjson"
	"example.com/orders/functions/internal/web/identity"
	"example.com/orders/functions/internal/web/rest"
	"example.com/orders/sql/orders"
)

// Parse reads the order of a request. The items may leave out their prices if the catalogue's are taken. Its error is a
// *rest.Problem: 400, or 422 if nothing is wrong but that prices are left out where they are needed, since the description of
// the API cannot say where that is; or base.ErrNotStarted, since it takes a started function to know whose prices count.
func (f *Function) Parse(ctx context.Context, data []byte) (events.CreateOrder, error) {
	if err := f.Started(); err != nil {
		return events.CreateOrder{}, err
	}
	priced := f.priced(ctx)
	parse := events.ParseCreateOrder
	if priced {
		parse = events.ParseUnpricedOrder
	}
	order, err := parse(data)
	if err == nil {
		return order, nil
	}
	if violations, ok := errors.AsType[strictjson.Violations](err); ok && !priced {
		if _, err := events.ParseUnpricedOrder(data); err == nil {
			return events.CreateOrder{}, rest.Unprocessable(violations)
		}
	}
	return events.CreateOrder{}, rest.Invalid(err)
}

// priced returns whether an order costs what the catalogue says: once customers log in. Without a log-in there is nobody to
// protect the price from, and no operator to set it.
func (f *Function) priced(ctx context.Context) bool {
	return !identity.From(f.Identity.Admit(ctx)).Open
}

// mayOrder returns nil if a principal may order for a mail's address: operators for every one, and customers for their own,
// or else they could have mails sent to strangers. The error is a *rest.Problem.
func mayOrder(p identity.Principal, email string) error {
	switch {
	case p.Operator || p.Open:
		return nil
	case p.Owner() == "":
		return rest.NewProblem(http.StatusForbidden, "log in to order")
	case !p.EmailVerified:
		return rest.NewProblem(http.StatusForbidden,
			"the identity provider has no verified e-mail address of yours: verify it there, and log in again (the token needs the claims email and email_verified)")
	case !sameAddress(p.Email, email):
		return rest.NewProblem(http.StatusForbidden, "customerEmail must be your own address: the verified one in the claim email of the token")
	default:
		return nil
	}
}

// sameAddress compares addresses as mail servers must: only the domain in either case (RFC 5321, 2.4).
func sameAddress(a, b string) bool {
	at, other := strings.LastIndexByte(a, '@'), strings.LastIndexByte(b, '@')
	return at >= 0 && other >= 0 && a[:at] == b[:other] && strings.EqualFold(a[at:], b[other:])
}

// price returns an order with the prices of the catalogue. The error is a *rest.Problem that names each item with another
// price, and each SKU without one.
func (f *Function) price(ctx context.Context, order events.CreateOrder) (events.CreateOrder, error) {
	skus := make([]string, len(order.Items))
	for i, item := range order.Items {
		skus[i] = item.SKU
	}
	rows, err := orders.New(f.DB).ListPricesOf(ctx, skus)
	if err != nil {
		return order, fmt.Errorf("read the prices of %d items: %w", len(skus), err)
	}
	prices := make(map[string]orders.ListPricesOfRow, len(rows))
	for _, row := range rows {
		prices[row.Sku] = row
	}
	var refused strictjson.Violations
	priced := make([]events.Item, len(order.Items))
	for i, item := range order.Items {
		price, known := prices[item.SKU]
		switch {
		case !known:
			refused = append(refused, strictjson.Violation{Field: fmt.Sprintf("items[%d].sku", i), Detail: item.SKU + " is not for sale: it has no price"})
		case price.Currency != f.Currency:
			refused = append(refused, strictjson.Violation{
				Field:  fmt.Sprintf("items[%d].sku", i),
				Detail: fmt.Sprintf("%s is not for sale: its price is in %s, and orders are in %s", item.SKU, price.Currency, f.Currency),
			})
		case item.UnitPrice != events.NoPrice && item.UnitPrice != price.UnitPrice:
			refused = append(refused, strictjson.Violation{
				Field:  fmt.Sprintf("items[%d].unitPrice", i),
				Detail: fmt.Sprintf("%s costs %d, in minor units of %s: send that, or leave unitPrice out", item.SKU, price.UnitPrice, price.Currency),
			})
		}
		item.UnitPrice = price.UnitPrice
		priced[i] = item
	}
	if len(refused) > 0 {
		return order, rest.Unprocessable(refused)
	}
	order.Items = priced
	if err := order.Validate(); err != nil { // the total
		return order, rest.Invalid(err)
	}
	return order, nil
}
