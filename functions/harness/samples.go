package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"example.com/orders/functions"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/web/identity"
	"example.com/orders/functions/internal/web/rest"
	"example.com/orders/knative"
)

// samples are the SKUs of a new database, with their units and their prices in minor units.
var samples = []struct {
	sku                 string
	quantity, unitPrice int64
}{{"SKU-123", 100, 1299}, {"SKU-456", 50, 4500}, {"SKU-789", 5, 99900}}

// addSamples adds the samples, once per database: a later call with the same idempotency key has no effect, and a price that an
// operator has set stays. Only orders of people who log in have the prices of the catalogue.
func (h *harness) addSamples(ctx context.Context) error {
	err := h.call(ctx, "inventoryapi", func(send sender) error {
		for _, sample := range samples {
			if err := send("/api/inventory/"+sample.sku, fmt.Sprintf(`{"availableQty":%d}`, sample.quantity), rest.KeyHeader, "sample-stock"); err != nil {
				return fmt.Errorf("put %s on stock: %w", sample.sku, err)
			}
		}
		return nil
	})
	if err != nil || !h.verifier.Enabled() {
		return err
	}
	currency, err := base.Currency(h.servers.config)
	if err != nil {
		return err
	}
	return h.call(ctx, "ordersapi", func(send sender) error {
		for _, sample := range samples {
			if err := send("/api/prices/"+sample.sku, fmt.Sprintf(`{"unitPrice":%d,"currency":%q}`, sample.unitPrice, currency), "If-None-Match", "*"); err != nil {
				return fmt.Errorf("set the price of %s: %w", sample.sku, err)
			}
		}
		return nil
	})
}

// sender puts a JSON body with a header to a path of a function. A precondition that fails is no error.
type sender func(path, body, header, value string) error

// call passes an API of this process to work. The API is one of its own: those of the wiring may run as other processes, in
// which nobody is an operator without a token.
func (h *harness) call(ctx context.Context, function string, work func(sender) error) (err error) {
	n := slices.IndexFunc(h.wiring.Services, func(s knative.Service) bool { return s.Function == function })
	if n < 0 {
		return fmt.Errorf("the wiring has no function %q", function)
	}
	f := functions.Catalogue[function]()
	config, err := h.share(h.wiring.Services[n], f)
	if err != nil {
		return err
	}
	api, ok := f.(interface {
		Handle(w http.ResponseWriter, r *http.Request)
	})
	if !ok {
		return fmt.Errorf("the function %q takes no requests", function)
	}
	if err := f.Start(ctx, config); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Stop(ctx)) }()
	ctx = identity.With(ctx, identity.Principal{Operator: true})
	return work(func(path, body, header, value string) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodPut, path, strings.NewReader(body))
		if err != nil {
			return err
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set(header, value)
		w := &answer{header: http.Header{}}
		api.Handle(w, request)
		if w.status >= 300 && w.status != http.StatusPreconditionFailed {
			return fmt.Errorf("%d: %s", w.status, w.body.String())
		}
		return nil
	})
}

// answer is the answer of a function that is called without a connection.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header                  { return a.header }
func (a *answer) WriteHeader(status int)               { a.status = status }
func (a *answer) Write(text []byte) (n int, err error) { return a.body.Write(text) }
