package events

import (
	"time"

	"example.com/orders/events/strictjson"
)

// Channel is the way in which an order came in.
type Channel string

// The channels.
const (
	ChannelHTTP       Channel = "http"       // POST /api/orders
	ChannelCloudEvent Channel = "cloudevent" // the command order.create
)

// OrderCreated says that an order was accepted and is PENDING. It is version 2. What Decode makes of a version 1 has neither
// Currency nor Channel: it is in the currency of the deployment, and how it came in is not known.
type OrderCreated struct {
	OrderID       string    `json:"orderId"`
	CustomerEmail string    `json:"customerEmail"`
	Items         []Item    `json:"items"`
	TotalAmount   int64     `json:"totalAmount"` // minor units of Currency, the Total of Items
	Currency      string    `json:"currency"`    // ISO 4217
	Channel       Channel   `json:"channel"`
	CreatedAt     time.Time `json:"createdAt"`
}

// OrderCreatedV1 is version 1 of OrderCreated.
type OrderCreatedV1 struct {
	OrderID       string    `json:"orderId"`
	CustomerEmail string    `json:"customerEmail"`
	Items         []Item    `json:"items"`
	TotalAmount   int64     `json:"totalAmount"`
	CreatedAt     time.Time `json:"createdAt"`
}

func (OrderCreated) Type() string      { return OrderCreatedType }
func (OrderCreated) Version() int      { return 2 }
func (OrderCreated) Source() string    { return OrdersSource }
func (d OrderCreated) Subject() string { return d.OrderID }

func (OrderCreatedV1) Type() string      { return OrderCreatedType }
func (OrderCreatedV1) Version() int      { return 1 }
func (OrderCreatedV1) Source() string    { return OrdersSource }
func (d OrderCreatedV1) Subject() string { return d.OrderID }

// V1 returns d as version 1, for consumers that do not know version 2. Currency and Channel are lost.
func (d OrderCreated) V1() OrderCreatedV1 {
	return OrderCreatedV1{
		OrderID: d.OrderID, CustomerEmail: d.CustomerEmail, Items: d.Items, TotalAmount: d.TotalAmount, CreatedAt: d.CreatedAt,
	}
}

func (d OrderCreatedV1) upcast() Data {
	return OrderCreated{
		OrderID: d.OrderID, CustomerEmail: d.CustomerEmail, Items: d.Items, TotalAmount: d.TotalAmount, CreatedAt: d.CreatedAt,
	}
}

// Validate checks all bounds, and that the items sum up to the total.
func (d OrderCreated) Validate() error {
	var c checks
	c.created(d.V1())
	c.currency(d.Currency)
	if d.Channel != ChannelHTTP && d.Channel != ChannelCloudEvent {
		c.fail("channel", "must be http or cloudevent")
	}
	return c.err()
}

// Validate checks all bounds, and that the items sum up to the total.
func (d OrderCreatedV1) Validate() error {
	var c checks
	c.created(d)
	return c.err()
}

// created checks what both versions of order.created have.
func (c *checks) created(d OrderCreatedV1) {
	c.orderID(d.OrderID)
	c.email(d.CustomerEmail)
	sum, ok := c.items(d.Items)
	if c.total(d.TotalAmount) && ok && sum != d.TotalAmount {
		c.fail("totalAmount", "must be the sum of the items")
	}
	c.time(d.CreatedAt)
}

func (OrderCreated) read(o *strictjson.Object) Data {
	return OrderCreated{
		OrderID:       o.String("orderId"),
		CustomerEmail: o.String("customerEmail"),
		Items:         readItems(o),
		TotalAmount:   o.Int("totalAmount"),
		Currency:      o.String("currency"),
		Channel:       Channel(o.String("channel")),
		CreatedAt:     readCreatedAt(o),
	}
}

func (OrderCreatedV1) read(o *strictjson.Object) Data {
	return OrderCreatedV1{
		OrderID:       o.String("orderId"),
		CustomerEmail: o.String("customerEmail"),
		Items:         readItems(o),
		TotalAmount:   o.Int("totalAmount"),
		CreatedAt:     readCreatedAt(o),
	}
}

func (d OrderCreated) settled() Data   { d.CreatedAt = wireTime(d.CreatedAt); return d }
func (d OrderCreatedV1) settled() Data { d.CreatedAt = wireTime(d.CreatedAt); return d }
