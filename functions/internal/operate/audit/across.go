package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"example.com/orders/sql/inventory"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/payments"
	"example.com/orders/sql/schema"
)

// Servers have no moment in common at which they could be read. A row of one may be older than that of another, and what looks
// like a breach between them a step that was taken in between. So a difference between schemas of several servers is a breach
// only if the order's rows, read again when all servers have been read, are as they were: then they were all like that at the
// moment at which the last server was read. Each change of an order, a reservation or a payment changes its status or version.
// An order that does change has its next audit.

// difference is between schemas of several servers.
type difference struct {
	of     *view
	in     *Invariant
	report func()
}

// across reports a difference between schemas: at once if all are read at one moment, else once the order has been read again.
func (a *auditor) across(of *view, in *Invariant, report func()) {
	if a.snapshot.whole() {
		report()
		return
	}
	a.keepOpen(of.id)
	a.differences = append(a.differences, difference{of, in, report})
}

// differAcross is differ for a difference between schemas.
func (a *auditor) differAcross(of *view, in *Invariant, format string, args ...any) {
	a.across(of, in, func() { a.differ(in, of.id, format, args...) })
}

// breachAcross reports a difference between schemas that nothing explains.
func (a *auditor) breachAcross(of *view, in *Invariant, format string, args ...any) {
	a.across(of, in, func() { in.breach(format, args...) })
}

// settle reads the orders with differences again, and reports the differences of those that are as they were.
func (a *auditor) settle(ctx context.Context) (err error) {
	found := a.differences
	a.differences = nil
	if len(found) == 0 {
		return nil
	}
	r, err := a.openAgain()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	type orderIn struct {
		of *view
		in *Invariant
	}
	changed, counted := map[*view]bool{}, map[orderIn]bool{}
	for _, d := range found {
		moved, known := changed[d.of]
		if !known {
			if moved, err = r.moved(ctx, d.of, a.pays); err != nil {
				return fmt.Errorf("read order %s again: %w", d.of.id, err)
			}
			changed[d.of] = moved
		}
		if !moved {
			d.report()
		} else if at := (orderIn{d.of, d.in}); !counted[at] {
			counted[at] = true
			d.in.count("changed while it was read", 1)
		}
	}
	return nil
}

// again reads rows as they are now.
type again struct {
	orders, inventory, payments *sql.DB
}

func (a *auditor) openAgain() (r again, err error) {
	for name, into := range map[string]**sql.DB{schema.Orders: &r.orders, schema.Inventory: &r.inventory, schema.Payments: &r.payments} {
		if *into, err = a.o.Server.Open(name, 1); err != nil {
			return r, errors.Join(err, r.close())
		}
	}
	return r, nil
}

func (r again) close() error {
	var errs []error
	for _, db := range []*sql.DB{r.orders, r.inventory, r.payments} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// moved returns whether an order, its reservation or its payment has changed since it was read.
func (r again) moved(ctx context.Context, v *view, pays bool) (bool, error) {
	order, err := orders.New(r.orders).GetOrderVersion(ctx, v.id)
	if err != nil || len(order) > 0 && (v.order == nil || order[0].Status != v.order.Status || order[0].Version != v.order.Version) {
		return true, err
	}
	reservation, err := inventory.New(r.inventory).GetReservationVersion(ctx, v.id)
	if err != nil || len(reservation) > 0 && (v.reservation == nil || reservation[0] != v.reservation.Version) {
		return true, err
	}
	if !pays {
		return false, nil
	}
	payment, err := payments.New(r.payments).GetPaymentVersion(ctx, v.id)
	return err != nil || len(payment) > 0 && (v.paid.row == nil || payment[0].Status != v.paid.row.Status || payment[0].Version != v.paid.row.Version), err
}
