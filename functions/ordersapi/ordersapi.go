// Package ordersapi is the REST API of orders and prices. It creates and cancels orders with the functions createorder and
// cancelorder in-process, and reads them, and the prices, from the orders schema.
package ordersapi

import (
	"context"
	"errors"
	"net/http"

	"example.com/orders/functions/cancelorder"
	"example.com/orders/functions/createorder"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/web/rest"
	"example.com/orders/sql/schema"
)

// Function serves /api/orders and /api/prices.
type Function struct {
	base.Base
	Create *createorder.Function
	Cancel *cancelorder.Function

	routes *http.ServeMux
}

// New returns the function as it is deployed.
func New() *Function {
	f := &Function{
		Base:   base.Base{Name: "orders-api", Schema: schema.Orders},
		Create: createorder.New(),
		Cancel: cancelorder.New(),
		routes: http.NewServeMux(),
	}
	f.Create.Door = f.Name
	f.Route(f.routes, "POST /api/orders", f.create)
	f.Route(f.routes, "GET /api/orders", f.list)
	f.Route(f.routes, "/api/orders", rest.NotAllowed("GET, POST"))
	f.Route(f.routes, "GET /api/orders/{id}", f.get)
	f.Route(f.routes, "/api/orders/{id}", rest.NotAllowed("GET"))
	f.Route(f.routes, "POST /api/orders/{id}/cancel", f.cancel)
	f.Route(f.routes, "/api/orders/{id}/cancel", rest.NotAllowed("POST"))
	f.Route(f.routes, "GET /api/prices", f.listPrices)
	f.Route(f.routes, "/api/prices", rest.NotAllowed("GET"))
	f.Route(f.routes, "GET /api/prices/{sku}", f.getPrice)
	f.Route(f.routes, "PUT /api/prices/{sku}", base.ForOperators(f.putPrice))
	f.Route(f.routes, "/api/prices/{sku}", rest.NotAllowed("GET, PUT"))
	f.Route(f.routes, "/", rest.NotFound)
	return f
}

// Start opens the database and starts the fronted functions on the same pool.
func (f *Function) Start(ctx context.Context, config map[string]string) error {
	if err := f.Base.Start(ctx, config); err != nil {
		return err
	}
	for _, fronted := range []interface {
		Shared() *base.Base
		Start(context.Context, map[string]string) error
	}{f.Create, f.Cancel} {
		base := fronted.Shared()
		base.DB, base.Now, base.NewID, base.Poke, base.Log = f.DB, f.Now, f.NewID, f.Poke, f.Log
		base.Dispatcher, base.Recent, base.Identity, base.Metrics = f.Dispatcher, f.Recent, f.Identity, f.Metrics
		if err := fronted.Start(ctx, config); err != nil {
			return err
		}
	}
	return nil
}

// Stop stops the fronted functions and closes the database.
func (f *Function) Stop(ctx context.Context) error {
	return errors.Join(f.Create.Stop(ctx), f.Cancel.Stop(ctx), f.Base.Stop(ctx))
}

// Handle serves a request.
func (f *Function) Handle(w http.ResponseWriter, r *http.Request) { f.routes.ServeHTTP(w, r) }
