package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"

	"example.com/orders/events"
	"example.com/orders/sql/inventory"
	"example.com/orders/sql/messaging"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/schema"
)

// Past is orders that have ended before a load.
type Past struct {
	Orders int
	// Over is how long before now the first of them was placed. The rest follow at equal intervals.
	Over time.Duration
}

const maxPast = 365 * 24 * time.Hour

// Validate names every field out of its bounds.
func (p Past) Validate() error {
	var errs []error
	if p.Orders < 0 || p.Orders > maxOrders {
		errs = append(errs, fmt.Errorf("--fill %d: give up to %d", p.Orders, maxOrders))
	}
	if p.Over <= 0 || p.Over > maxPast {
		errs = append(errs, fmt.Errorf("--fill-over %s: give up to %s", p.Over, maxPast))
	}
	return errors.Join(errs...)
}

const (
	oneIn         = 50                   // so many orders one has failed, and another one was canceled after its confirmation
	ordersOfOne   = 5                    // customer
	stepTakes     = 4 * time.Millisecond // from a fact to the one that follows from it
	canceledAfter = time.Minute
)

// handlers are the consumers that record facts in an inbox, with its schema.
var handlers = map[string][]struct{ schema, consumer string }{
	events.OrderCreatedType:      {{schema.Inventory, "reserve-stock"}},
	events.InventoryReservedType: {{schema.Orders, "finalize-order"}},
	events.InventoryRejectedType: {{schema.Orders, "finalize-order"}},
	events.OrderFailedType:       {{schema.Inventory, "release-stock"}},
	events.OrderCanceledType:     {{schema.Inventory, "release-stock"}},
}

// fact is an event of an ended order, and when it was stored.
type fact struct {
	event.Event
	at time.Time
}

// ended is an order that has ended, as the functions would have left it.
type ended struct {
	n         int // among all
	id, email string
	status    orders.OrdersStatus
	placed    time.Time
	items     []events.Item
	wanted    []events.Quantity
	total     int64
	facts     []fact
}

// maker makes ended orders: always the same number n for the same seed, but for its time.
type maker struct {
	shape *shape
	seed  uint64
	begin time.Time
	step  time.Duration
}

func (m maker) order(n int) (*ended, error) {
	placed := m.begin.Add(time.Duration(n) * m.step).UTC().Truncate(time.Microsecond)
	e := &ended{
		n: n, id: orderID(placed, m.seed, n), placed: placed, status: orders.OrdersStatusCONFIRMED,
		email: fmt.Sprintf("customer%d@example.com", n/ordersOfOne),
	}
	units := map[string]int64{}
	for _, sku := range m.shape.order(n) {
		e.items = append(e.items, events.Item{SKU: skuName(sku), Quantity: 1, UnitPrice: unitPrice})
		units[skuName(sku)]++
		e.total += unitPrice
	}
	for _, sku := range slices.Sorted(maps.Keys(units)) {
		e.wanted = append(e.wanted, events.Quantity{SKU: sku, Quantity: units[sku]})
	}
	switch n % oneIn {
	case 0:
		e.status = orders.OrdersStatusFAILED
	case 1:
		e.status = orders.OrdersStatusCANCELED
	}
	return e, e.tell()
}

// orderID is a UUIDv7 of a time.
func orderID(at time.Time, seed uint64, n int) string {
	random := rand.New(rand.NewPCG(seed, ^uint64(n)))
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[:8], uint64(at.UnixMilli())<<16|7<<12|random.Uint64()&0xfff)
	binary.BigEndian.PutUint64(id[8:], 2<<62|random.Uint64()>>2)
	return id.String()
}

// tell makes the facts of the order, each caused by the one before it.
func (e *ended) tell() error {
	at := e.placed
	numbers := map[string]int{}
	cause := events.Cause{CorrelationID: e.id}
	add := func(after time.Duration, data func(at time.Time) events.Data) error {
		at = at.Add(after)
		d := data(at)
		numbers[d.Source()]++
		one, err := events.New(d, numbers[d.Source()], at, cause)
		if err != nil {
			return err
		}
		e.facts, cause = append(e.facts, fact{one, at}), events.CauseOf(one)
		return nil
	}
	told := []error{add(0, func(at time.Time) events.Data {
		return events.OrderCreatedV1{OrderID: e.id, CustomerEmail: e.email, Items: e.items, TotalAmount: e.total, CreatedAt: at}
	})}
	if e.status == orders.OrdersStatusFAILED {
		short := []events.Shortage{{SKU: e.wanted[0].SKU, Requested: e.wanted[0].Quantity}}
		told = append(told,
			add(stepTakes, func(at time.Time) events.Data {
				return events.InventoryRejected{OrderID: e.id, Reason: events.ReasonOutOfStock, Shortages: short, CreatedAt: at}
			}),
			add(stepTakes, func(at time.Time) events.Data {
				return events.OrderFailed{OrderID: e.id, CustomerEmail: e.email, Reason: events.ReasonOutOfStock, Shortages: short, CreatedAt: at}
			}))
		return errors.Join(told...)
	}
	told = append(told,
		add(stepTakes, func(time.Time) events.Data { return events.InventoryReserved{OrderID: e.id, Reservations: e.wanted} }),
		add(stepTakes, func(at time.Time) events.Data {
			return events.OrderConfirmed{OrderID: e.id, CustomerEmail: e.email, TotalAmount: e.total, CreatedAt: at}
		}))
	if e.status == orders.OrdersStatusCANCELED {
		told = append(told,
			add(canceledAfter, func(at time.Time) events.Data {
				return events.OrderCanceled{OrderID: e.id, CustomerEmail: e.email, PreviousStatus: events.StatusConfirmed, CreatedAt: at}
			}),
			add(stepTakes, func(at time.Time) events.Data {
				return events.InventoryReleased{OrderID: e.id, Releases: e.wanted, Reason: events.ReasonCanceled, CreatedAt: at}
			}))
	}
	return errors.Join(told...)
}

// count returns the number of facts of a source, and when the last of them was stored.
func (e *ended) count(source string) (n int, last time.Time) {
	for _, f := range e.facts {
		if f.Source() == source {
			n, last = n+1, f.at
		}
	}
	return n, last
}

// fingerprint returns the hash of the request by which the order was placed.
func (e *ended) fingerprint() []byte {
	hash := events.CreateOrder{CustomerEmail: e.email, Items: e.items}.Fingerprint()
	return hash[:]
}

// failure returns why the order has failed; nil if it has not.
func (e *ended) failure() *string {
	if e.status != orders.OrdersStatusFAILED {
		return nil
	}
	reason := events.ReasonOutOfStock
	return &reason
}

// reservation returns the status of what was reserved for the order.
func (e *ended) reservation() inventory.ReservationsStatus {
	switch e.status {
	case orders.OrdersStatusFAILED:
		return inventory.ReservationsStatusREJECTED
	case orders.OrdersStatusCANCELED:
		return inventory.ReservationsStatusRELEASED
	default:
		return inventory.ReservationsStatusRESERVED
	}
}

// log returns what each fact that inventory handled did to the order's SKUs.
func (e *ended) log() (rows []inventory.InsertReservationLogParams) {
	for _, f := range e.facts {
		status, sign := inventory.ReservationLogStatusRESERVED, int64(1)
		switch {
		case f.Type() == events.OrderCreatedType && e.status == orders.OrdersStatusFAILED:
			status, sign = inventory.ReservationLogStatusREJECTED, 0
		case f.Type() == events.OrderCanceledType:
			status, sign = inventory.ReservationLogStatusRELEASED, -1
		case f.Type() != events.OrderCreatedType:
			continue
		}
		for _, w := range e.wanted {
			rows = append(rows, inventory.InsertReservationLogParams{
				Source: f.Source(), EventID: f.ID(), Sku: w.SKU, OrderID: e.id, DeltaReserved: sign * w.Quantity, Status: status, CreatedAt: f.at.Add(stepTakes),
			})
		}
	}
	return rows
}

// handled returns the facts in the inbox of a schema.
func (e *ended) handled(name string) (rows []messaging.InsertHandledParams) {
	for _, f := range e.facts {
		for _, by := range handlers[f.Type()] {
			if by.schema == name {
				rows = append(rows, messaging.InsertHandledParams{Consumer: by.consumer, Source: f.Source(), EventID: f.ID(), ProcessedAt: f.at.Add(stepTakes)})
			}
		}
	}
	return rows
}

// news returns the facts that the customer was told.
func (e *ended) news() (told []fact) {
	for _, f := range e.facts {
		switch f.Type() {
		case events.OrderConfirmedType, events.OrderFailedType, events.OrderCanceledType:
			told = append(told, f)
		}
	}
	return told
}
