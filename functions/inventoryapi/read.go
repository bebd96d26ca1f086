package inventoryapi

import (
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"example.com/orders/events"
	"example.com/orders/functions/internal/web/rest"
	"example.com/orders/sql/inventory"
)

// get answers GET /api/inventory/{sku}.
func (f *Function) get(w http.ResponseWriter, r *http.Request) error {
	sku, err := validSKU(r)
	if err != nil {
		return err
	}
	row, err := inventory.New(f.DB).GetStock(r.Context(), sku)
	if errors.Is(err, sql.ErrNoRows) {
		return unknown(sku)
	}
	if err != nil {
		return fmt.Errorf("read the stock of %s: %w", sku, err)
	}
	return newLevel(row).write(w, http.StatusOK)
}

func unknown(sku string) *rest.Problem {
	return rest.NewProblem(http.StatusNotFound, "there is no SKU "+sku+": PUT /api/inventory/"+sku+" creates it")
}

// list answers GET /api/inventory?limit=&after=, sorted by SKU. after is the last SKU of the previous page; next is the path
// of the next page, absent on the last one.
func (f *Function) list(w http.ResponseWriter, r *http.Request) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return badList()
	}
	limit, after := 100, ""
	for name, values := range query {
		value, ok := values[0], false
		switch name {
		case "after":
			after, ok = value, events.ValidSKU(value)
		case "limit":
			limit, err = strconv.Atoi(value)
			ok = err == nil && limit >= 1 && limit <= 1000
		}
		if !ok || len(values) > 1 {
			return badList()
		}
	}
	// One more than requested shows whether there is another page.
	rows, err := inventory.New(f.DB).ListStock(r.Context(), inventory.ListStockParams{AfterSku: after, Limit: int32(limit) + 1}) //nolint:gosec // at most 1001
	if err != nil {
		return fmt.Errorf("list the stock: %w", err)
	}
	var answer struct {
		Inventory []level `json:"inventory"`
		Next      string  `json:"next,omitempty"`
	}
	answer.Inventory = make([]level, len(rows))
	for i, row := range rows {
		answer.Inventory[i] = newLevel(inventory.GetStockRow(row))
	}
	if len(rows) > limit {
		answer.Inventory = answer.Inventory[:limit]
		query.Set("after", rows[limit-1].Sku)
		answer.Next = "/api/inventory?" + query.Encode()
	}
	return rest.JSON(w, http.StatusOK, answer)
}

func badList() *rest.Problem {
	return rest.NewProblem(http.StatusBadRequest, "the parameters are limit (1 to 1000) and after (a SKU), each at most once")
}
