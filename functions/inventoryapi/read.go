package inventoryapi

import (
	"database/sql"
	"errors"
	"fmt"
	"net/http"

	"example.com/orders/functions/internal/web/rest"
	"example.com/orders/sql/inventory"
)

// get answers GET /api/inventory/{sku}.
func (f *Function) get(w http.ResponseWriter, r *http.Request) error {
	sku, err := rest.PathSKU(r)
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
	page, err := rest.ReadSKUPage(r)
	if err != nil {
		return err
	}
	rows, err := inventory.New(f.DB).ListStock(r.Context(), inventory.ListStockParams{AfterSku: page.After, Limit: page.OneMore()})
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
	if len(rows) > page.Limit {
		answer.Inventory = answer.Inventory[:page.Limit]
		answer.Next = page.Next("/api/inventory", rows[page.Limit-1].Sku)
	}
	return rest.JSON(w, http.StatusOK, answer)
}
