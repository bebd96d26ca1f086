package events

import (
	"time"

	"example.com/orders/events/strictjson"
)

// InventorySource is the CloudEvents source of the inventory family.
const InventorySource = "/inventory"

// Types of the facts about stock.
const (
	InventoryReservedType = "inventory.reserved"
	InventoryRejectedType = "inventory.rejected"
	InventoryReleasedType = "inventory.released"
)

// Reasons of a rejected reservation. ReasonUnknownSKU applies if any SKU is unknown, whatever else is short.
const (
	ReasonOutOfStock = "out_of_stock"
	ReasonUnknownSKU = "unknown_sku"
)

// Reasons of a release: the end of the order.
const (
	ReasonCanceled = "canceled"
	ReasonFailed   = "failed"
)

// Quantity is the reserved or released units of one SKU, summed over the lines of the order.
type Quantity struct {
	SKU      string `json:"sku"`
	Quantity int64  `json:"quantity"` // 1 to MaxReserved
}

// Shortage is a SKU of which an order wants more units than are available.
type Shortage struct {
	SKU       string `json:"sku"`
	Requested int64  `json:"requested"` // units, summed over the lines of the order
	Available int64  `json:"available"` // units under the lock, 0 for an unknown SKU
}

// InventoryReserved says that all units of an order are reserved.
type InventoryReserved struct {
	OrderID      string     `json:"orderId"`
	Reservations []Quantity `json:"reservations"` // one per SKU
}

// InventoryRejected says that nothing was reserved for an order.
type InventoryRejected struct {
	OrderID   string     `json:"orderId"`
	Reason    string     `json:"reason"`    // ReasonOutOfStock or ReasonUnknownSKU
	Shortages []Shortage `json:"shortages"` // one per short SKU, all of them
	CreatedAt time.Time  `json:"createdAt"`
}

// InventoryReleased says that the units of an order are available again.
type InventoryReleased struct {
	OrderID   string     `json:"orderId"`
	Releases  []Quantity `json:"releases"` // one per SKU
	Reason    string     `json:"reason"`   // ReasonCanceled or ReasonFailed
	CreatedAt time.Time  `json:"createdAt"`
}

func (InventoryReserved) Type() string      { return InventoryReservedType }
func (InventoryReserved) Version() int      { return 1 }
func (InventoryReserved) Source() string    { return InventorySource }
func (d InventoryReserved) Subject() string { return d.OrderID }

func (InventoryRejected) Type() string      { return InventoryRejectedType }
func (InventoryRejected) Version() int      { return 1 }
func (InventoryRejected) Source() string    { return InventorySource }
func (d InventoryRejected) Subject() string { return d.OrderID }

func (InventoryReleased) Type() string      { return InventoryReleasedType }
func (InventoryReleased) Version() int      { return 1 }
func (InventoryReleased) Source() string    { return InventorySource }
func (d InventoryReleased) Subject() string { return d.OrderID }

// Validate checks all bounds, and that each SKU appears once.
func (d InventoryReserved) Validate() error {
	var c checks
	c.orderID(d.OrderID)
	c.quantities("reservations", d.Reservations)
	return c.err()
}

// Validate checks all bounds, and that each SKU appears once.
func (d InventoryRejected) Validate() error {
	var c checks
	c.orderID(d.OrderID)
	c.reason(d.Reason)
	c.shortages(d.Shortages)
	c.time(d.CreatedAt)
	return c.err()
}

// Validate checks all bounds, and that each SKU appears once.
func (d InventoryReleased) Validate() error {
	var c checks
	c.orderID(d.OrderID)
	c.quantities("releases", d.Releases)
	c.reason(d.Reason)
	c.time(d.CreatedAt)
	return c.err()
}

func (InventoryReserved) read(o *strictjson.Object) Data {
	return InventoryReserved{
		OrderID:      o.String("orderId"),
		Reservations: readQuantities(o, "reservations"),
	}
}

func (InventoryRejected) read(o *strictjson.Object) Data {
	return InventoryRejected{
		OrderID:   o.String("orderId"),
		Reason:    o.String("reason"),
		Shortages: readShortages(o.Objects("shortages")),
		CreatedAt: readCreatedAt(o),
	}
}

func (InventoryReleased) read(o *strictjson.Object) Data {
	return InventoryReleased{
		OrderID:   o.String("orderId"),
		Releases:  readQuantities(o, "releases"),
		Reason:    o.String("reason"),
		CreatedAt: readCreatedAt(o),
	}
}

func (d InventoryReserved) settled() Data { return d }
func (d InventoryRejected) settled() Data { d.CreatedAt = wireTime(d.CreatedAt); return d }
func (d InventoryReleased) settled() Data { d.CreatedAt = wireTime(d.CreatedAt); return d }

func readQuantities(o *strictjson.Object, name string) []Quantity {
	entries := o.Objects(name)
	quantities := make([]Quantity, len(entries))
	for i, entry := range entries {
		quantities[i] = Quantity{SKU: entry.String("sku"), Quantity: entry.Int("quantity")}
	}
	return quantities
}

// readShortages returns nil for no entries, since an empty optional list is left out.
func readShortages(entries []*strictjson.Object) []Shortage {
	var shortages []Shortage
	for _, entry := range entries {
		shortages = append(shortages, Shortage{
			SKU:       entry.String("sku"),
			Requested: entry.Int("requested"),
			Available: entry.Int("available"),
		})
	}
	return shortages
}
