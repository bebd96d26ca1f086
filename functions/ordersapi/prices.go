package ordersapi

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/events/strictjson"
	"example.com/orders/functions/internal/web/identity"
	"example.com/orders/functions/internal/web/rest"
	"example.com/orders/sql/dberror"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/transaction"
)

// price is what a SKU costs.
type price struct {
	SKU       string    `json:"sku"`
	UnitPrice int64     `json:"unitPrice"` // minor units of the currency
	Currency  string    `json:"currency"`
	UpdatedAt time.Time `json:"updatedAt"`
}

// listPrices answers GET /api/prices?limit=&after=, sorted by SKU. after is the last SKU of the previous page; next is the path
// of the next page, absent on the last one.
func (f *Function) listPrices(w http.ResponseWriter, r *http.Request) error {
	page, err := rest.ReadSKUPage(r)
	if err != nil {
		return err
	}
	rows, err := orders.New(f.DB).ListPrices(r.Context(), orders.ListPricesParams{AfterSku: page.After, Limit: page.OneMore()})
	if err != nil {
		return fmt.Errorf("list the prices: %w", err)
	}
	var answer struct {
		Prices []price `json:"prices"`
		Next   string  `json:"next,omitempty"`
	}
	answer.Prices = make([]price, len(rows))
	for i, row := range rows {
		answer.Prices[i] = price{row.Sku, row.UnitPrice, row.Currency, row.UpdatedAt}
	}
	if len(rows) > page.Limit {
		answer.Prices = answer.Prices[:page.Limit]
		answer.Next = page.Next("/api/prices", rows[page.Limit-1].Sku)
	}
	return rest.JSON(w, http.StatusOK, answer)
}

// getPrice answers GET /api/prices/{sku}.
func (f *Function) getPrice(w http.ResponseWriter, r *http.Request) error {
	sku, err := rest.PathSKU(r)
	if err != nil {
		return err
	}
	row, err := orders.New(f.DB).GetPrice(r.Context(), sku)
	if errors.Is(err, sql.ErrNoRows) {
		return rest.NewProblem(http.StatusNotFound, "the SKU "+sku+" has no price: PUT /api/prices/"+sku+" gives it one")
	}
	if err != nil {
		return fmt.Errorf("read the price of %s: %w", sku, err)
	}
	return rest.JSON(w, http.StatusOK, price{row.Sku, row.UnitPrice, row.Currency, row.UpdatedAt})
}

// putPrice answers PUT /api/prices/{sku}: orders from now on have this price, and price_log says who has set it. If-None-Match: *
// gives only the first price.
func (f *Function) putPrice(w http.ResponseWriter, r *http.Request) error {
	sku, err := rest.PathSKU(r)
	if err != nil {
		return err
	}
	body, err := rest.Body(w, r)
	if err != nil {
		return err
	}
	p, err := f.parsePrice(sku, body)
	if err != nil {
		return err
	}
	actor, correlationID := identity.From(r.Context()).Account(), w.Header().Get(rest.CorrelationHeader)
	var first bool
	err = f.Transact(r.Context(), func(ctx context.Context, tx *transaction.Tx) (_ []event.Event, err error) {
		q := orders.New(tx)
		if first, err = store(ctx, q, p, r.Header.Values("If-None-Match")); err != nil {
			return nil, err
		}
		if err := q.InsertPriceLog(ctx, orders.InsertPriceLogParams{
			Sku: sku, UnitPrice: p.UnitPrice, Currency: p.Currency, Actor: actor, CorrelationID: correlationID, CreatedAt: p.UpdatedAt,
		}); err != nil {
			return nil, fmt.Errorf("log the price of %s: %w", sku, err)
		}
		return nil, nil
	})
	if err != nil {
		return err
	}
	f.Log.InfoContext(r.Context(), "price set", "function", f.Name, "sku", sku, "unit_price", p.UnitPrice, "currency", p.Currency,
		"by", actor, "correlation_id", correlationID)
	if first {
		w.Header().Set("Location", "/api/prices/"+sku)
		return rest.JSON(w, http.StatusCreated, p)
	}
	return rest.JSON(w, http.StatusOK, p)
}

// parsePrice reads the body of a PUT; its error is a *rest.Problem. The currency is that of the orders: it is named so that
// a price in another one, of a deployment that has changed its currency, is never taken for one in this.
func (f *Function) parsePrice(sku string, body []byte) (price, error) {
	o, err := strictjson.Parse(body)
	if err != nil {
		return price{}, rest.Invalid(err)
	}
	p := price{SKU: sku, UnitPrice: o.Int("unitPrice"), Currency: o.String("currency"), UpdatedAt: f.Now()}
	if p.UnitPrice < 0 || p.UnitPrice > events.MaxUnitPrice {
		o.Fail("unitPrice", fmt.Sprintf("must be 0 to %d minor units", int64(events.MaxUnitPrice)))
	}
	if !events.ValidCurrency(p.Currency) {
		o.Fail("currency", "must be an ISO 4217 code like EUR")
	}
	if err := o.Done(); err != nil {
		return price{}, rest.Invalid(err)
	}
	if p.Currency != f.Create.Currency {
		return price{}, rest.Unprocessable(strictjson.Violations{{Field: "currency", Detail: "must be " + f.Create.Currency + ", the currency of the orders"}})
	}
	return p, nil
}

// store gives a SKU its price, and returns whether it is its first one.
func store(ctx context.Context, q *orders.Queries, p price, ifNoneMatch []string) (first bool, err error) {
	switch {
	case len(ifNoneMatch) == 0:
		changed, err := q.SetPrice(ctx, orders.SetPriceParams{Sku: p.SKU, UnitPrice: p.UnitPrice, Currency: p.Currency, UpdatedAt: p.UpdatedAt})
		if err != nil {
			return false, fmt.Errorf("set the price of %s: %w", p.SKU, err)
		}
		return changed == 1, nil
	case len(ifNoneMatch) > 1 || ifNoneMatch[0] != "*":
		return false, rest.NewProblem(http.StatusBadRequest, "a price has no ETag: If-None-Match can only be *")
	}
	err = q.InsertPrice(ctx, orders.InsertPriceParams{Sku: p.SKU, UnitPrice: p.UnitPrice, Currency: p.Currency, UpdatedAt: p.UpdatedAt})
	if dberror.IsDuplicate(err) {
		return false, rest.NewProblem(http.StatusPreconditionFailed, "the SKU "+p.SKU+" has a price already: leave out If-None-Match to change it")
	}
	if err != nil {
		return false, fmt.Errorf("give %s its first price: %w", p.SKU, err)
	}
	return true, nil
}
