package asyncapi

import "example.com/orders/events"

// emits has the types that each function emits, by the folder of the function. The manifests do not have them: they connect
// topics to functions, and a function writes to its outbox.
var emits = map[string][]string{
	"createorder":      {events.OrderCreatedType},
	"authorizepayment": {events.PaymentAuthorizedType, events.PaymentDeclinedType},
	"reservestock":     {events.InventoryReservedType, events.InventoryRejectedType},
	"finalizeorder":    {events.OrderConfirmedType, events.OrderFailedType},
	"cancelorder":      {events.OrderCanceledType},
	"expireorders":     {events.OrderFailedType},
	"releasestock":     {events.InventoryReleasedType},
	"refundpayment":    {events.PaymentRefundedType},
}

// fronts has the functions that another one runs in its own process, so that it emits what they emit.
var fronts = map[string][]string{"ordersapi": {"createorder", "cancelorder"}}

// Emits returns the types that a function emits by itself, not by others that it runs in its process.
func Emits(folder string) []string { return emits[folder] }
