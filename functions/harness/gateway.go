package main

import (
	"example.com/orders/functions"
	"example.com/orders/functions/internal/function/gateway"
)

// shareGateway gives a function that asks a payment gateway the one of this process, which has one bound of calls and one
// breaker for all of them. A function in a process of its own opens its own.
func (h *harness) shareGateway(f functions.Function, config map[string]string) (err error) {
	cashier, ok := f.(interface{ UseGateway(g gateway.Gateway) })
	if !ok {
		return nil
	}
	if h.gateway == nil {
		if h.gateway, err = gateway.Open(config); err != nil {
			return err
		}
	}
	cashier.UseGateway(h.gateway)
	return nil
}
