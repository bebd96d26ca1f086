// Package functions is the catalogue of all functions, by the name that the Services of the wiring use.
package functions

import (
	"context"

	"example.com/orders/functions/authorizepayment"
	"example.com/orders/functions/cancelorder"
	"example.com/orders/functions/createorder"
	"example.com/orders/functions/expireorders"
	"example.com/orders/functions/finalizeorder"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/inventoryapi"
	"example.com/orders/functions/notify"
	"example.com/orders/functions/ordersapi"
	"example.com/orders/functions/publishoutbox"
	"example.com/orders/functions/refundpayment"
	"example.com/orders/functions/releasestock"
	"example.com/orders/functions/reservestock"
)

// Function is an instanced function of func's runtime. Each also has a Handle, for HTTP requests or for CloudEvents.
type Function interface {
	Start(ctx context.Context, config map[string]string) error
	Ready(ctx context.Context) (bool, error)
	Stop(ctx context.Context) error
	// Shared returns the function's Base, whose shared parts the host sets.
	Shared() *base.Base
}

// Catalogue has the constructor of each function by the name of its folder.
var Catalogue = map[string]func() Function{
	"authorizepayment": func() Function { return authorizepayment.New() },
	"cancelorder":      func() Function { return cancelorder.New() },
	"createorder":      func() Function { return createorder.New() },
	"expireorders":     func() Function { return expireorders.New() },
	"finalizeorder":    func() Function { return finalizeorder.New() },
	"inventoryapi":     func() Function { return inventoryapi.New() },
	"notify":           func() Function { return notify.New() },
	"ordersapi":        func() Function { return ordersapi.New() },
	"publishoutbox":    func() Function { return publishoutbox.New() },
	"refundpayment":    func() Function { return refundpayment.New() },
	"releasestock":     func() Function { return releasestock.New() },
	"reservestock":     func() Function { return reservestock.New() },
}
