// Package inventoryapi is the REST API of stock, for operators. It reads and writes the levels in the inventory schema, and logs each
// change in stock_log.
package inventoryapi

import (
	"net/http"
	"strconv"

	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/web/rest"
	"example.com/orders/sql/inventory"
	"example.com/orders/sql/schema"
)

// Function serves /api/inventory.
type Function struct {
	base.Base
	routes *http.ServeMux
}

// New returns the function as it is deployed.
func New() *Function {
	f := &Function{
		Base:   base.Base{Name: "inventory-api", Schema: schema.Inventory},
		routes: http.NewServeMux(),
	}
	f.Route(f.routes, "GET /api/inventory", base.ForOperators(f.list))
	f.Route(f.routes, "/api/inventory", rest.NotAllowed("GET"))
	f.Route(f.routes, "GET /api/inventory/{sku}", base.ForOperators(f.get))
	f.Route(f.routes, "PUT /api/inventory/{sku}", base.ForOperators(f.put))
	f.Route(f.routes, "/api/inventory/{sku}", rest.NotAllowed("GET, PUT"))
	f.Route(f.routes, "POST /api/inventory/{sku}/adjustments", base.ForOperators(f.adjust))
	f.Route(f.routes, "/api/inventory/{sku}/adjustments", rest.NotAllowed("POST"))
	f.Route(f.routes, "/", rest.NotFound)
	return f
}

// Handle serves a request.
func (f *Function) Handle(w http.ResponseWriter, r *http.Request) { f.routes.ServeHTTP(w, r) }

// level is the stock of one SKU.
type level struct {
	SKU          string `json:"sku"`
	AvailableQty int64  `json:"availableQty"`
	ReservedQty  int64  `json:"reservedQty"`

	version int64
}

func newLevel(row inventory.GetStockRow) level {
	return level{SKU: row.Sku, AvailableQty: row.AvailableQty, ReservedQty: row.ReservedQty, version: row.Version}
}

// etag is the entity tag of a level: it changes with every change of the row.
func (l level) etag() string { return `"` + strconv.FormatInt(l.version, 10) + `"` }

func (l level) write(w http.ResponseWriter, status int) error {
	w.Header().Set("ETag", l.etag())
	return rest.JSON(w, status, l)
}
