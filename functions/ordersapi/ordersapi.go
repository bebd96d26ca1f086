// Package ordersapi is the REST API of the orders. HTTP requests come in; orders are created and canceled by the
// functions createorder and cancelorder in-process, and read from the orders schema.
package ordersapi

import (
	"context"
	"errors"
	"net/http"

	"example.com/orders/functions/cancelorder"
	"example.com/orders/functions/createorder"
	"example.com/orders/functions/internal/instance"
	"example.com/orders/functions/internal/rest"
	"example.com/orders/sql/schema"
)

// Function serves /api/orders.
type Function struct {
	instance.Instance
	Create *createorder.Function
	Cancel *cancelorder.Function

	routes *http.ServeMux
}

// New returns the function as it is deployed.
func New() *Function {
	f := &Function{
		Instance: instance.Instance{Name: "orders-api", Schema: schema.Orders},
		Create:   createorder.New(),
		Cancel:   cancelorder.New(),
		routes:   http.NewServeMux(),
	}
	f.route("POST /api/orders", f.create)
	f.route("GET /api/orders", f.list)
	f.route("/api/orders", rest.NotAllowed("GET, POST"))
	f.route("GET /api/orders/{id}", f.get)
	f.route("/api/orders/{id}", rest.NotAllowed("GET"))
	f.route("POST /api/orders/{id}/cancel", f.cancel)
	f.route("/api/orders/{id}/cancel", rest.NotAllowed("POST"))
	f.route("/", rest.NotFound)
	return f
}

// route serves a pattern. Every answer names its flow, in the header that rest.Correlation sets.
func (f *Function) route(pattern string, handle func(http.ResponseWriter, *http.Request) error) {
	f.routes.HandleFunc(pattern, rest.Handler(f.Logger, func(w http.ResponseWriter, r *http.Request) error {
		if err := f.Started(); err != nil {
			return rest.Unavailable(err.Error())
		}
		rest.Correlation(w, r, f.NewID)
		return handle(w, r)
	}))
}

// Start opens the database and starts the functions that it fronts on the same pool.
func (f *Function) Start(ctx context.Context, config map[string]string) error {
	if err := f.Instance.Start(ctx, config); err != nil {
		return err
	}
	for _, fronted := range []interface {
		Base() *instance.Instance
		Start(context.Context, map[string]string) error
	}{f.Create, f.Cancel} {
		base := fronted.Base()
		base.DB, base.Now, base.NewID, base.Poke, base.Log = f.DB, f.Now, f.NewID, f.Poke, f.Log
		if err := fronted.Start(ctx, config); err != nil {
			return err
		}
	}
	return nil
}

// Stop ends the fronted functions and closes the database.
func (f *Function) Stop(ctx context.Context) error {
	return errors.Join(f.Create.Stop(ctx), f.Cancel.Stop(ctx), f.Instance.Stop(ctx))
}

// Handle serves a request.
func (f *Function) Handle(w http.ResponseWriter, r *http.Request) { f.routes.ServeHTTP(w, r) }
