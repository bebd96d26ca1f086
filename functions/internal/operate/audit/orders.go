package audit

import (
	"context"
	"fmt"
	"slices"
	"time"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/sql/inventory"
	"example.com/orders/sql/notifications"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/schema"
)

// orderPage is the number of orders in one query, with everything that belongs to them.
const orderPage = 2000

// lastID is above all order ids.
const lastID = "~"

// view is an order as all services know it.
type view struct {
	id          string
	order       *orders.WalkOrdersRow // nil if no such order was accepted
	items       []events.Item
	reservation *inventory.ListReservationsBetweenRow
	lines       []line
	notified    []notifications.ListNotificationsBetweenRow
	paid        paid
	holding     *gateway.Holding // nil if the gateway's ledger does not have the order
}

// line is what an order wants and holds of one SKU.
type line struct {
	sku                         string
	wanted, held                int64
	reservedTimes, releaseTimes int
}

func (v *view) line(sku string) *line {
	for i := range v.lines {
		if v.lines[i].sku == sku {
			return &v.lines[i]
		}
	}
	v.lines = append(v.lines, line{sku: sku})
	return &v.lines[len(v.lines)-1]
}

// views has the orders of one range of ids, in the order of their appearance.
type views struct {
	list []*view
	byID map[string]*view
	last string // the last id of the range
	// The rows of the range beside the orders.
	notifications, paymentLog int
}

func (p *views) of(id string) *view {
	v, ok := p.byID[id]
	if !ok {
		v = &view{id: id}
		p.byID[id] = v
		p.list = append(p.list, v)
	}
	return v
}

// walkOrders checks every order against all services, range by range of the ids.
func (a *auditor) walkOrders(ctx context.Context) error {
	if err := readAhead(ctx, a.readViews, func(page *views) error {
		if err := a.checkLedger(ctx, page, page.last); err != nil {
			return err
		}
		a.once.count("notifications", page.notifications)
		if a.pays {
			a.logs.count("log rows", page.paymentLog)
		}
		for _, v := range page.list {
			a.checkOrder(v)
			a.noteOrder(v)
		}
		return a.settle(ctx)
	}); err != nil {
		return err
	}
	for source, table := range a.facts {
		for _, unknown := range table.left() {
			a.emitted.breach("row %d in the outbox of %s is about an order that the schema does not have", unknown.row, a.outboxes[source])
		}
	}
	return nil
}

// readViews yields the orders of all services, range by range.
func (a *auditor) readViews(ctx context.Context, yield func(*views) error) error {
	after, err := a.readTouched(ctx, yield)
	if err != nil {
		return err
	}
	for after != lastID {
		page := &views{byID: make(map[string]*view, orderPage)}
		if page.last, err = a.readRange(ctx, page, after); err != nil {
			return err
		}
		if err := yield(page); err != nil {
			return err
		}
		after = page.last
	}
	return nil
}

// readRange reads what all services know of the orders after an id, up to orderPage of them, and returns the last id that it has
// come to.
func (a *auditor) readRange(ctx context.Context, page *views, after string) (last string, err error) {
	conn, err := a.snapshot.use(ctx, schema.Orders)
	if err != nil {
		return "", err
	}
	rows, err := orders.New(conn).WalkOrders(ctx, orders.WalkOrdersParams{AfterID: after, Limit: orderPage})
	if err != nil {
		return "", fmt.Errorf("walk through the orders: %w", err)
	}
	last = lastID
	if len(rows) == orderPage {
		last = rows[len(rows)-1].ID
	}
	for i := range rows {
		page.of(rows[i].ID).order = &rows[i]
	}
	some := chosen{}
	some.between.AfterID, some.between.LastID = after, last
	return last, a.readRest(ctx, page, some)
}

// readList reads what all services know of some orders.
func (a *auditor) readList(ctx context.Context, page *views, ids []string) error {
	conn, err := a.snapshot.use(ctx, schema.Orders)
	if err != nil {
		return err
	}
	rows, err := orders.New(conn).WalkOrdersOf(ctx, ids)
	if err != nil {
		return fmt.Errorf("read the orders that have changed: %w", err)
	}
	for _, row := range rows {
		order := orders.WalkOrdersRow(row)
		page.of(row.ID).order = &order
	}
	return a.readRest(ctx, page, chosen{list: ids})
}

// readRest reads what there is about orders beside their rows.
func (a *auditor) readRest(ctx context.Context, page *views, some chosen) error {
	for _, read := range []func(context.Context, *views, chosen) error{a.readItems, a.readReservations, a.readNotifications, a.readPayments} {
		if err := read(ctx, page, some); err != nil {
			return err
		}
	}
	return nil
}

func (a *auditor) readItems(ctx context.Context, page *views, some chosen) error {
	conn, err := a.snapshot.use(ctx, schema.Orders)
	if err != nil {
		return err
	}
	q := orders.New(conn)
	items, err := read(ctx, some, q.ListItemsBetween, q.ListItems, func(row orders.ListItemsRow) orders.ListItemsBetweenRow {
		return orders.ListItemsBetweenRow(row)
	})
	if err != nil {
		return fmt.Errorf("read the lines of the orders: %w", err)
	}
	for _, item := range items {
		v := page.of(item.OrderID)
		v.items = append(v.items, events.Item{SKU: item.Sku, Quantity: item.Quantity, UnitPrice: item.UnitPrice})
		v.line(item.Sku).wanted += item.Quantity
	}
	return nil
}

func (a *auditor) readReservations(ctx context.Context, page *views, some chosen) error {
	conn, err := a.snapshot.use(ctx, schema.Inventory)
	if err != nil {
		return err
	}
	q := inventory.New(conn)
	rows, err := read(ctx, some, q.ListReservationsBetween, q.ListReservationsOf, func(row inventory.ListReservationsOfRow) inventory.ListReservationsBetweenRow {
		return inventory.ListReservationsBetweenRow(row)
	})
	if err != nil {
		return fmt.Errorf("read the reservations: %w", err)
	}
	for i := range rows {
		page.of(rows[i].OrderID).reservation = &rows[i]
	}
	log, err := read(ctx, some, q.ListReservationLogBetween, q.ListReservationLogOf, func(row inventory.ListReservationLogOfRow) inventory.ListReservationLogBetweenRow {
		return inventory.ListReservationLogBetweenRow(row)
	})
	if err != nil {
		return fmt.Errorf("read the log of the reservations: %w", err)
	}
	for _, entry := range log {
		a.logged[entry.Sku] += entry.DeltaReserved
		l := page.of(entry.OrderID).line(entry.Sku)
		l.held += entry.DeltaReserved
		switch entry.Status {
		case inventory.ReservationLogStatusRESERVED:
			l.reservedTimes++
		case inventory.ReservationLogStatusRELEASED:
			l.releaseTimes++
		case inventory.ReservationLogStatusREJECTED: // has no effect
		}
	}
	a.reserved.count("log rows", len(log))
	return nil
}

func (a *auditor) readNotifications(ctx context.Context, page *views, some chosen) error {
	conn, err := a.snapshot.use(ctx, schema.Notifications)
	if err != nil {
		return err
	}
	q := notifications.New(conn)
	rows, err := read(ctx, some, q.ListNotificationsBetween, q.ListNotifications, func(row notifications.ListNotificationsRow) notifications.ListNotificationsBetweenRow {
		return notifications.ListNotificationsBetweenRow{OrderID: row.OrderID, OrderVersion: row.OrderVersion, Status: row.Status}
	})
	if err != nil {
		return fmt.Errorf("read the notifications: %w", err)
	}
	for _, row := range rows {
		v := page.of(row.OrderID)
		v.notified = append(v.notified, row)
	}
	page.notifications += len(rows)
	return nil
}

func (a *auditor) checkOrder(v *view) {
	a.checkHoldings(v)
	a.checkEffects(v)
	a.checkPayment(v)
	if r := v.reservation; r != nil {
		a.checkFacts(events.InventorySource, v.id, r.Version, r.CreatedAt, r.UpdatedAt)
	}
	o := v.order
	if o == nil {
		return
	}
	a.totals.count("orders", 1)
	if total, err := events.Total(v.items); err != nil || total != o.TotalAmount {
		a.totals.breach("order %s: its total is %d and its %d lines are %d", v.id, o.TotalAmount, len(v.items), total)
	}
	a.emitted.count("orders", 1)
	a.checkFacts(events.OrdersSource, v.id, o.Version, o.CreatedAt, o.UpdatedAt)
	for source, left := range a.facts {
		if !slices.Contains(counted, source) {
			left.take(a.hashes.of(v.id)) // it is about an order, and no number of them is due
		}
	}
	if o.Status != orders.OrdersStatusPENDING {
		a.ends.count("ended", 1)
		return
	}
	a.ends.count("pending", 1)
	if o.CreatedAt.Before(a.at.Add(-a.o.SagaTimeout - a.o.Grace)) {
		// No exception explains this: the clock ends orders whatever happens to their events.
		a.ends.breach("order %s is PENDING since %s, longer than %s", v.id, o.CreatedAt.Format(time.RFC3339), a.o.SagaTimeout)
	}
}

// checkHoldings compares what an order holds with what it should hold. A CONFIRMED order got its units before it was
// confirmed, so it is never in flight. Others hold what was not released yet.
func (a *auditor) checkHoldings(v *view) {
	if v.order == nil {
		for _, l := range v.lines {
			if l.held != 0 {
				a.differAcross(v, a.holdings, "order %s was never accepted and holds %d of %s", v.id, l.held, l.sku)
			}
		}
		return
	}
	a.holdings.count(string(v.order.Status), 1)
	for _, l := range v.lines {
		switch v.order.Status {
		case orders.OrdersStatusPENDING: // may or may not hold its lines yet
			if l.held != 0 && l.held != l.wanted {
				a.holdings.breach("order %s is PENDING, wants %d of %s and holds %d", v.id, l.wanted, l.sku, l.held)
			}
		case orders.OrdersStatusCONFIRMED:
			if l.held != l.wanted {
				a.breachAcross(v, a.holdings, "order %s is CONFIRMED, wants %d of %s and holds %d", v.id, l.wanted, l.sku, l.held)
			}
		case orders.OrdersStatusFAILED, orders.OrdersStatusCANCELED:
			if l.held == 0 {
				continue
			}
			if l.held == l.wanted && a.inFlight(v) {
				a.holdings.count("in flight", 1)
				return
			}
			a.differAcross(v, a.holdings, "order %s is %s and holds %d of %s", v.id, v.order.Status, l.held, l.sku)
		}
	}
}

// inFlight returns whether the effects of an order's last change may still be missing.
func (a *auditor) inFlight(v *view) bool {
	_, waits := a.waiting[a.hashes.of(v.id)]
	if waits = waits || v.order.UpdatedAt.After(a.at.Add(-a.o.Grace)); waits {
		a.keepOpen(v.id)
	}
	return waits
}

// checkEffects checks that nothing was done twice.
func (a *auditor) checkEffects(v *view) {
	for _, l := range v.lines {
		a.once.count("reservations", l.reservedTimes)
		a.once.count("releases", l.releaseTimes)
		if l.reservedTimes > 1 {
			a.once.breach("order %s was reserved %s %d times", v.id, l.sku, l.reservedTimes)
		}
		if l.releaseTimes > 1 {
			a.once.breach("order %s released %s %d times", v.id, l.sku, l.releaseTimes)
		}
	}
	versions := map[int]int{}
	for _, n := range v.notified {
		// A duplicate under another id is suppressed by the order's version, and the limit sends nothing.
		if n.Status == notifications.NotificationsStatusSUPPRESSED || n.Status == notifications.NotificationsStatusLIMITED {
			continue
		}
		if versions[n.OrderVersion]++; versions[n.OrderVersion] == 2 {
			a.once.breach("the customer of order %s was notified of its fact %d more than once", v.id, n.OrderVersion)
		}
	}
}

// checkFacts compares the facts that a source has emitted about an order with its version. created and updated are the times
// of the first and the last fact.
func (a *auditor) checkFacts(source, order string, version int, created, updated time.Time) {
	mask := a.facts[source].take(a.hashes.of(order)) | a.since().known(source, order) // the remaining ones belong to no order
	if version > maxFact {
		a.emitted.breach("order %s is at version %d of %s", order, version, source)
		return
	}
	purgedBefore := a.at.Add(-a.o.SentRetention)
	for n := 1; n <= version; n++ {
		if mask&(1<<n) != 0 {
			continue
		}
		at := created // a fact between the first and the last is not older than the first
		if n == version && n > 1 {
			at = updated
		}
		switch {
		case at.Before(purgedBefore):
			a.emitted.count("purged", 1)
		case a.topics != nil && a.topics.wait().has(source, fmt.Sprintf("%s#%d", order, n)):
			a.emitted.count("purged, still in a topic", 1)
		default:
			a.differ(a.emitted, order, "order %s is at version %d of %s and its fact %d is neither in the outbox nor in a topic", order, version, source, n)
		}
	}
	if beyond := mask >> (version + 1); beyond != 0 {
		a.emitted.breach("order %s is at version %d of %s and has later facts", order, version, source)
	}
}
