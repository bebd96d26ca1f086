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
func (a *auditor) settle(ctx context.Context) error {
	found := a.differences
	a.differences = nil
	if len(found) == 0 {
		return nil
	}
	type orderIn struct {
		of *view
		in *Invariant
	}
	changed, counted := map[*view]bool{}, map[orderIn]bool{}
	for _, d := range found {
		moved, known := changed[d.of]
		if !known {
			var err error
			if moved, err = a.again.moved(ctx, d.of, a.pays); err != nil {
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

// again reads rows as they are now. Its pools stay open until the end of the audit.
type again struct {
	server schema.Server
	pools  map[string]*sql.DB // by schema
}

// pool returns the pool of a schema, of one connection.
func (r *again) pool(name string) (*sql.DB, error) {
	if db := r.pools[name]; db != nil {
		return db, nil
	}
	db, err := r.server.Open(name, 1)
	if err != nil {
		return nil, err
	}
	r.pools[name] = db
	return db, nil
}

func (r *again) close() error {
	var errs []error
	for _, db := range r.pools {
		errs = append(errs, db.Close())
	}
	return errors.Join(errs...)
}

// moved returns whether an order, its reservation or its payment has changed since it was read.
func (r *again) moved(ctx context.Context, v *view, pays bool) (bool, error) {
	if moved, err := r.orderMoved(ctx, v); moved || err != nil {
		return moved, err
	}
	if moved, err := r.reservationMoved(ctx, v); moved || err != nil || !pays {
		return moved, err
	}
	return r.paymentMoved(ctx, v)
}

func (r *again) orderMoved(ctx context.Context, v *view) (bool, error) {
	db, err := r.pool(schema.Orders)
	if err != nil {
		return false, err
	}
	now, err := orders.New(db).GetOrderVersion(ctx, v.id)
	return len(now) > 0 && (v.order == nil || now[0].Status != v.order.Status || now[0].Version != v.order.Version), err
}

func (r *again) reservationMoved(ctx context.Context, v *view) (bool, error) {
	db, err := r.pool(schema.Inventory)
	if err != nil {
		return false, err
	}
	now, err := inventory.New(db).GetReservationVersion(ctx, v.id)
	return len(now) > 0 && (v.reservation == nil || now[0] != v.reservation.Version), err
}

func (r *again) paymentMoved(ctx context.Context, v *view) (bool, error) {
	db, err := r.pool(schema.Payments)
	if err != nil {
		return false, err
	}
	now, err := payments.New(db).GetPaymentVersion(ctx, v.id)
	row := v.paid.row
	return len(now) > 0 && (row == nil || now[0].Status != row.Status || now[0].Version != row.Version), err
}
