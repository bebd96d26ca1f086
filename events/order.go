package events

import (
	"errors"
	"math/bits"
	"time"

	"example.com/orders/events/strictjson"
)

// OrdersSource is the CloudEvents source of the order family, and of the answers
// to its commands.
const OrdersSource = "/orders"

// Types of the facts about orders.
const (
	OrderCreatedType   = "order.created"
	OrderConfirmedType = "order.confirmed"
	OrderFailedType    = "order.failed"
	OrderCanceledType  = "order.canceled"
)

// Status of an order as it travels in events and answers.
const (
	StatusPending   = "PENDING"
	StatusConfirmed = "CONFIRMED"
	StatusFailed    = "FAILED"
	StatusCanceled  = "CANCELED"
)

// ReasonTimeout is the reason of an order that was still pending after the saga timeout.
const ReasonTimeout = "timeout"

// ErrTotalOverflow is returned by Total for a sum above MaxTotal.
var ErrTotalOverflow = errors.New("the total exceeds 2^53-1")

// Item is one line of an order. Several lines may have the same SKU, at different prices.
type Item struct {
	SKU       string `json:"sku"`
	Quantity  int64  `json:"quantity"`  // 1 to MaxQuantity
	UnitPrice int64  `json:"unitPrice"` // minor units, 0 to MaxUnitPrice
}

// Total returns the sum of all lines in minor units; ErrTotalOverflow if it exceeds MaxTotal. Quantities and prices must not
// be negative, and are normally within their bounds.
func Total(items []Item) (int64, error) {
	var total uint64
	for _, item := range items {
		high, line := bits.Mul64(uint64(item.Quantity), uint64(item.UnitPrice))
		sum, carry := bits.Add64(total, line, 0)
		if high != 0 || carry != 0 || sum > MaxTotal {
			return 0, ErrTotalOverflow
		}
		total = sum
	}
	return int64(total), nil
}

// OrderConfirmed says that the stock of an order is reserved and the order is confirmed.
type OrderConfirmed struct {
	OrderID       string    `json:"orderId"`
	CustomerEmail string    `json:"customerEmail"`
	TotalAmount   int64     `json:"totalAmount"`
	CreatedAt     time.Time `json:"createdAt"`
}

// OrderFailed says that an order ended without success.
type OrderFailed struct {
	OrderID       string     `json:"orderId"`
	CustomerEmail string     `json:"customerEmail"`
	Reason        string     `json:"reason"`              // the reason of the rejection, or ReasonTimeout
	Shortages     []Shortage `json:"shortages,omitempty"` // the short SKUs, if stock was the reason
	CreatedAt     time.Time  `json:"createdAt"`
}

// OrderCanceled says that the customer canceled an order.
type OrderCanceled struct {
	OrderID        string    `json:"orderId"`
	CustomerEmail  string    `json:"customerEmail"`
	PreviousStatus string    `json:"previousStatus"` // StatusPending or StatusConfirmed
	CreatedAt      time.Time `json:"createdAt"`
}

func (OrderConfirmed) Type() string      { return OrderConfirmedType }
func (OrderConfirmed) Version() int      { return 1 }
func (OrderConfirmed) Source() string    { return OrdersSource }
func (d OrderConfirmed) Subject() string { return d.OrderID }

func (OrderFailed) Type() string      { return OrderFailedType }
func (OrderFailed) Version() int      { return 1 }
func (OrderFailed) Source() string    { return OrdersSource }
func (d OrderFailed) Subject() string { return d.OrderID }

func (OrderCanceled) Type() string      { return OrderCanceledType }
func (OrderCanceled) Version() int      { return 1 }
func (OrderCanceled) Source() string    { return OrdersSource }
func (d OrderCanceled) Subject() string { return d.OrderID }

// Validate checks all bounds.
func (d OrderConfirmed) Validate() error {
	var c checks
	c.orderID(d.OrderID)
	c.email(d.CustomerEmail)
	c.total(d.TotalAmount)
	c.time(d.CreatedAt)
	return c.err()
}

// Validate checks all bounds. An order that timed out has no shortages.
func (d OrderFailed) Validate() error {
	var c checks
	c.orderID(d.OrderID)
	c.email(d.CustomerEmail)
	c.reason(d.Reason)
	if len(d.Shortages) > 0 {
		c.shortages(d.Shortages)
	}
	c.time(d.CreatedAt)
	return c.err()
}

// Validate checks all bounds, and that the order had a status that can be canceled.
func (d OrderCanceled) Validate() error {
	var c checks
	c.orderID(d.OrderID)
	c.email(d.CustomerEmail)
	if d.PreviousStatus != StatusPending && d.PreviousStatus != StatusConfirmed {
		c.fail("previousStatus", "must be PENDING or CONFIRMED")
	}
	c.time(d.CreatedAt)
	return c.err()
}

func (OrderConfirmed) read(o *strictjson.Object) Data {
	return OrderConfirmed{
		OrderID:       o.String("orderId"),
		CustomerEmail: o.String("customerEmail"),
		TotalAmount:   o.Int("totalAmount"),
		CreatedAt:     readCreatedAt(o),
	}
}

func (OrderFailed) read(o *strictjson.Object) Data {
	return OrderFailed{
		OrderID:       o.String("orderId"),
		CustomerEmail: o.String("customerEmail"),
		Reason:        o.String("reason"),
		Shortages:     readShortages(o.OptionalObjects("shortages")),
		CreatedAt:     readCreatedAt(o),
	}
}

func (OrderCanceled) read(o *strictjson.Object) Data {
	return OrderCanceled{
		OrderID:        o.String("orderId"),
		CustomerEmail:  o.String("customerEmail"),
		PreviousStatus: o.String("previousStatus"),
		CreatedAt:      readCreatedAt(o),
	}
}

func (d OrderConfirmed) settled() Data { d.CreatedAt = wireTime(d.CreatedAt); return d }
func (d OrderFailed) settled() Data    { d.CreatedAt = wireTime(d.CreatedAt); return d }
func (d OrderCanceled) settled() Data  { d.CreatedAt = wireTime(d.CreatedAt); return d }

func readItems(o *strictjson.Object) []Item {
	lines := o.Objects("items")
	items := make([]Item, len(lines))
	for i, line := range lines {
		items[i] = Item{SKU: line.String("sku"), Quantity: line.Int("quantity"), UnitPrice: line.Int("unitPrice")}
	}
	return items
}
