package events

import (
	"time"

	"example.com/orders/events/strictjson"
)

// PaymentsSource is the CloudEvents source of the payment family.
const PaymentsSource = "/payments"

// Types of the facts about money.
const (
	PaymentAuthorizedType = "payment.authorized"
	PaymentDeclinedType   = "payment.declined"
	PaymentRefundedType   = "payment.refunded"
)

// NoReference is the reference of an amount of 0, about which no gateway is asked.
const NoReference = "none"

// PaymentAuthorized says that the money for an order is held. It carries the items on, for the reservation of the stock.
type PaymentAuthorized struct {
	OrderID   string    `json:"orderId"`
	Amount    int64     `json:"amount"`    // minor units, the Total of Items
	Currency  string    `json:"currency"`  // ISO 4217
	Reference string    `json:"reference"` // the gateway's name of the authorization; NoReference for an amount of 0
	Items     []Item    `json:"items"`
	CreatedAt time.Time `json:"createdAt"`
}

// PaymentDeclined says that the gateway holds no money for an order, and never will.
type PaymentDeclined struct {
	OrderID   string    `json:"orderId"`
	Amount    int64     `json:"amount"`
	Currency  string    `json:"currency"`
	Reason    string    `json:"reason"` // the gateway's, such as card_declined
	CreatedAt time.Time `json:"createdAt"`
}

// PaymentRefunded says that the money of an order is no longer held.
type PaymentRefunded struct {
	OrderID   string    `json:"orderId"`
	Amount    int64     `json:"amount"`
	Currency  string    `json:"currency"`
	Reference string    `json:"reference"` // the gateway's name of the refund; NoReference for an amount of 0
	Reason    string    `json:"reason"`    // ReasonCanceled or ReasonFailed
	CreatedAt time.Time `json:"createdAt"`
}

func (PaymentAuthorized) Type() string      { return PaymentAuthorizedType }
func (PaymentAuthorized) Version() int      { return 1 }
func (PaymentAuthorized) Source() string    { return PaymentsSource }
func (d PaymentAuthorized) Subject() string { return d.OrderID }

func (PaymentDeclined) Type() string      { return PaymentDeclinedType }
func (PaymentDeclined) Version() int      { return 1 }
func (PaymentDeclined) Source() string    { return PaymentsSource }
func (d PaymentDeclined) Subject() string { return d.OrderID }

func (PaymentRefunded) Type() string      { return PaymentRefundedType }
func (PaymentRefunded) Version() int      { return 1 }
func (PaymentRefunded) Source() string    { return PaymentsSource }
func (d PaymentRefunded) Subject() string { return d.OrderID }

// Validate checks all bounds, and that the items sum up to the amount.
func (d PaymentAuthorized) Validate() error {
	var c checks
	c.orderID(d.OrderID)
	c.currency(d.Currency)
	c.reference(d.Reference)
	sum, ok := c.items(d.Items)
	if c.amount(d.Amount) && ok && sum != d.Amount {
		c.fail("amount", "must be the sum of the items")
	}
	c.time(d.CreatedAt)
	return c.err()
}

// Validate checks all bounds.
func (d PaymentDeclined) Validate() error {
	var c checks
	c.orderID(d.OrderID)
	c.amount(d.Amount)
	c.currency(d.Currency)
	c.reason(d.Reason)
	c.time(d.CreatedAt)
	return c.err()
}

// Validate checks all bounds.
func (d PaymentRefunded) Validate() error {
	var c checks
	c.orderID(d.OrderID)
	c.amount(d.Amount)
	c.currency(d.Currency)
	c.reference(d.Reference)
	c.reason(d.Reason)
	c.time(d.CreatedAt)
	return c.err()
}

func (PaymentAuthorized) read(o *strictjson.Object) Data {
	return PaymentAuthorized{
		OrderID:   o.String("orderId"),
		Amount:    o.Int("amount"),
		Currency:  o.String("currency"),
		Reference: o.String("reference"),
		Items:     readItems(o),
		CreatedAt: readCreatedAt(o),
	}
}

func (PaymentDeclined) read(o *strictjson.Object) Data {
	return PaymentDeclined{
		OrderID:   o.String("orderId"),
		Amount:    o.Int("amount"),
		Currency:  o.String("currency"),
		Reason:    o.String("reason"),
		CreatedAt: readCreatedAt(o),
	}
}

func (PaymentRefunded) read(o *strictjson.Object) Data {
	return PaymentRefunded{
		OrderID:   o.String("orderId"),
		Amount:    o.Int("amount"),
		Currency:  o.String("currency"),
		Reference: o.String("reference"),
		Reason:    o.String("reason"),
		CreatedAt: readCreatedAt(o),
	}
}

func (d PaymentAuthorized) settled() Data { d.CreatedAt = wireTime(d.CreatedAt); return d }
func (d PaymentDeclined) settled() Data   { d.CreatedAt = wireTime(d.CreatedAt); return d }
func (d PaymentRefunded) settled() Data   { d.CreatedAt = wireTime(d.CreatedAt); return d }
