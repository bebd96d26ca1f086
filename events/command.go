package events

import (
	"crypto/sha256"
	"encoding/binary"

	"example.com/orders/events/strictjson"
)

// Types of the commands and of their answers. They travel over HTTP only.
const (
	OrderCreateType         = "order.create"
	OrderAcceptedType       = "order.accepted"
	OrderCancelType         = "order.cancel"
	OrderCancelAcceptedType = "order.cancel.accepted"
	OrderCancelRefusedType  = "order.cancel.refused"
)

// CreateOrder is the command to create an order.
type CreateOrder struct {
	CustomerEmail string `json:"customerEmail"`
	Items         []Item `json:"items"`
}

// ParseCreateOrder reads the body of POST /api/orders, which is also the data of order.create. Its error is
// strictjson.Violations and names every bad field.
func ParseCreateOrder(data []byte) (CreateOrder, error) {
	o, err := strictjson.Parse(data)
	if err != nil {
		return CreateOrder{}, err
	}
	c := CreateOrder{CustomerEmail: o.String("customerEmail"), Items: readItems(o)}
	if err := judge(o, c.Validate()); err != nil {
		return CreateOrder{}, err
	}
	return c, nil
}

// NoPrice stands for the unit price of an item whose request leaves it to the catalogue.
const NoPrice = -1

// ParseUnpricedOrder is ParseCreateOrder where the catalogue has the prices: an item may leave out unitPrice, and has NoPrice
// then.
func ParseUnpricedOrder(data []byte) (CreateOrder, error) {
	o, err := strictjson.Parse(data)
	if err != nil {
		return CreateOrder{}, err
	}
	c := CreateOrder{CustomerEmail: o.String("customerEmail")}
	var unpriced []int
	for i, line := range o.Objects("items") {
		price, given := line.OptionalInt("unitPrice")
		if !given {
			unpriced = append(unpriced, i)
		}
		c.Items = append(c.Items, Item{SKU: line.String("sku"), Quantity: line.Int("quantity"), UnitPrice: price})
	}
	if err := judge(o, c.Validate()); err != nil { // 0 is within the bounds of a price
		return CreateOrder{}, err
	}
	for _, i := range unpriced {
		c.Items[i].UnitPrice = NoPrice
	}
	return c, nil
}

// Validate checks all bounds, including the total's; it returns strictjson.Violations.
func (c CreateOrder) Validate() error {
	bounds := checks{command: true}
	bounds.email(c.CustomerEmail)
	bounds.items(c.Items)
	return bounds.err()
}

// Fingerprint returns the SHA-256 of the decoded content: requests that differ only in white space, in the order of fields
// or in escapes have the same one. The order of the lines matters.
func (c CreateOrder) Fingerprint() [sha256.Size]byte {
	b := appendText(make([]byte, 0, 256), c.CustomerEmail)
	for _, item := range c.Items {
		b = appendText(b, item.SKU)
		b = binary.BigEndian.AppendUint64(b, uint64(item.Quantity))
		b = binary.BigEndian.AppendUint64(b, uint64(item.UnitPrice))
	}
	return sha256.Sum256(b)
}

// appendText puts the length first, so that different contents never concatenate to the same bytes.
func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// CancelOrder is the command to cancel an order.
type CancelOrder struct {
	OrderID string `json:"orderId"`
}

// ParseCancelOrder reads the data of order.cancel. Its error is strictjson.Violations.
func ParseCancelOrder(data []byte) (CancelOrder, error) {
	o, err := strictjson.Parse(data)
	if err != nil {
		return CancelOrder{}, err
	}
	c := CancelOrder{OrderID: o.String("orderId")}
	var bounds checks
	bounds.orderID(c.OrderID)
	if err := judge(o, bounds.err()); err != nil {
		return CancelOrder{}, err
	}
	return c, nil
}

// OrderAnswer is the answer to a command: the data of order.accepted and order.cancel.accepted, and the body of their HTTP
// counterparts.
type OrderAnswer struct {
	OrderID string `json:"orderId"`
	Status  string `json:"status"`
}
