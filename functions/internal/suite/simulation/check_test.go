package simulation

import (
	"context"
	"fmt"
	"strings"
	"time"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/functions/internal/operate/audit"
	"example.com/orders/sql/schema"
)

// ended is an order at the end of a run.
type ended struct {
	id, status string
	total      int64
	version    int
}

// check checks the invariants once nothing is in flight, for everything of the run.
func (r *run) check(ctx context.Context) {
	orders := r.readOrders(ctx)
	r.checkStock(ctx)
	for _, o := range orders {
		r.checkOrder(ctx, o)
	}
	r.checkNews(orders)
	for _, name := range r.bed.wiring.Outboxes() {
		if n := r.number(ctx, name, "SELECT COUNT(*) FROM outbox WHERE status <> 'SENT'"); n != 0 {
			r.violate("%d events of %s are not sent", n, name)
		}
	}
}

// rows passes each row of a query's result to take, which scans it.
func (r *run) rows(ctx context.Context, name, query string, take func(scan func(...any) error) error, args ...any) {
	err := func() error {
		rows, err := r.bed.pools[name].QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			if err := take(rows.Scan); err != nil {
				return err
			}
		}
		return rows.Err()
	}()
	if err != nil {
		r.violate("%s: %v", query, err)
	}
}

func (r *run) number(ctx context.Context, name, query string, args ...any) (n int64) {
	r.rows(ctx, name, query, func(scan func(...any) error) error { return scan(&n) }, args...)
	return n
}

// readOrders reads the orders of the run by their keys, and checks that each key created one.
func (r *run) readOrders(ctx context.Context) (all []ended) {
	for _, o := range r.orders {
		e := ended{}
		r.rows(ctx, schema.Orders, "SELECT id, status, total_amount, version FROM orders WHERE id = ?", func(scan func(...any) error) error {
			return scan(&e.id, &e.status, &e.total, &e.version)
		}, o.orderID)
		if e.id == "" {
			r.violate("the accepted order %q of %s is not there", o.orderID, o.key)
			continue
		}
		all = append(all, e)
	}
	if n := r.number(ctx, schema.Orders, "SELECT COUNT(*) FROM orders WHERE correlation_id LIKE ?", fmt.Sprintf("order-%d-%%", r.seed)); n != int64(len(all)) {
		r.violate("%d keys made %d orders", len(all), n)
	}
	return all
}

// checkStock checks that the logs explain every unit and every change of each SKU, and that nothing was oversold.
func (r *run) checkStock(ctx context.Context) {
	for _, sku := range r.skus {
		var available, reserved, changes int64
		r.rows(ctx, schema.Inventory, "SELECT available_qty, reserved_qty, version FROM inventory WHERE sku = ?", func(scan func(...any) error) error {
			return scan(&available, &reserved, &changes)
		}, sku)
		stocked := r.initial[sku]
		for _, a := range r.adjustments {
			if a.sku == sku && a.answer == "OK" {
				stocked += a.delta
			}
		}
		logged := r.number(ctx, schema.Inventory, "SELECT COALESCE(SUM(delta), 0) FROM stock_log WHERE sku = ?", sku)
		held := r.number(ctx, schema.Inventory, "SELECT COALESCE(SUM(delta_reserved), 0) FROM reservation_log WHERE sku = ?", sku)
		moves := r.number(ctx, schema.Inventory, "SELECT COUNT(*) FROM reservation_log WHERE sku = ? AND delta_reserved <> 0", sku)
		stockings := r.number(ctx, schema.Inventory, "SELECT COUNT(*) FROM stock_log WHERE sku = ?", sku)
		if available < 0 || reserved < 0 || logged != stocked || available+reserved != logged || reserved != held || changes != moves+stockings {
			r.violate("%s: %d free and %d reserved after %d changes; stocked %d, logged %d; the log reserves %d; %d moves, %d stockings",
				sku, available, reserved, changes, stocked, logged, held, moves, stockings)
		}
	}
}

func (r *run) checkOrder(ctx context.Context, o ended) {
	if o.status == events.StatusPending {
		r.violate("order %s is still pending", o.id)
	}
	wanted, held := map[string]int64{}, map[string]int64{}
	var total int64
	r.rows(ctx, schema.Orders, "SELECT sku, quantity, unit_price FROM order_items WHERE order_id = ?", func(scan func(...any) error) error {
		var sku string
		var quantity, price int64
		err := scan(&sku, &quantity, &price)
		wanted[sku] += quantity
		total += quantity * price
		return err
	}, o.id)
	if total != o.total {
		r.violate("order %s costs %d, its lines %d", o.id, o.total, total)
	}
	r.rows(ctx, schema.Inventory, "SELECT sku, SUM(delta_reserved) FROM reservation_log WHERE order_id = ? GROUP BY sku HAVING SUM(delta_reserved) <> 0", func(scan func(...any) error) error {
		var sku string
		var quantity int64
		err := scan(&sku, &quantity)
		held[sku] = quantity
		return err
	}, o.id)
	if o.status != events.StatusConfirmed {
		wanted = map[string]int64{}
	}
	if fmt.Sprint(wanted) != fmt.Sprint(held) {
		r.violate("order %s is %s and holds %v instead of %v", o.id, o.status, held, wanted)
	}
	for _, status := range []string{"RESERVED", "REJECTED", "RELEASED"} {
		if n := r.number(ctx, schema.Inventory, "SELECT COALESCE(MAX(n), 0) FROM (SELECT COUNT(*) AS n FROM reservation_log WHERE order_id = ? AND status = ? GROUP BY sku) c", o.id, status); n > 1 {
			r.violate("order %s was %s %d times", o.id, status, n)
		}
	}
	r.checkFacts(ctx, schema.Orders, o.id, int64(o.version))
	r.checkFacts(ctx, schema.Inventory, o.id, r.number(ctx, schema.Inventory, "SELECT version FROM reservations WHERE order_id = ?", o.id))
	r.checkNotified(ctx, o)
	if r.bed.bank != nil {
		r.checkPayment(ctx, o)
	}
}

// checkFacts checks that the facts of an order are numbered without a gap, and that each was emitted once and is in its
// topic.
func (r *run) checkFacts(ctx context.Context, name, id string, version int64) {
	var n int64
	types := map[string]bool{}
	r.rows(ctx, name, "SELECT type, JSON_UNQUOTE(JSON_EXTRACT(headers, '$.id')) FROM outbox WHERE aggregate_id = ? AND JSON_UNQUOTE(JSON_EXTRACT(headers, '$.source')) = ? ORDER BY id", func(scan func(...any) error) error {
		var kind, eventID string
		err := scan(&kind, &eventID)
		n++
		if want := fmt.Sprintf("%s#%d", id, n); eventID != want {
			r.violate("fact %s of %s is %s", want, name, eventID)
		}
		if types[kind] {
			r.violate("order %s has two %s", id, kind)
		}
		types[kind] = true
		if !r.published(kind, eventID) {
			r.violate("%s %s is in no topic", kind, eventID)
		}
		return err
	}, id, "/"+name)
	if n != version {
		r.violate("order %s is at version %d of %s and has %d facts", id, version, name, n)
	}
}

// checkNotified checks that the customer was notified of the newest fact, and that all others were sent or suppressed.
func (r *run) checkNotified(ctx context.Context, o ended) {
	newest := 0
	r.rows(ctx, schema.Notifications, "SELECT order_version, status, event_id FROM notifications WHERE order_id = ? ORDER BY order_version", func(scan func(...any) error) error {
		var version int
		var status, id string
		err := scan(&version, &status, &id)
		if status == "SENT" {
			newest = version
		}
		times := 0
		for _, notified := range r.notified {
			if notified == id {
				times++
			}
		}
		if most := 1 + r.deaths[id]; status == "CLAIMED" || status == "SENT" && times == 0 || times > most {
			r.violate("the customer was notified %d times of %s, which is %s", times, id, status)
		}
		return err
	}, o.id)
	if newest != o.version {
		r.violate("the customer of order %s knows version %d of %d", o.id, newest, o.version)
	}
}

// checkNews checks that no customer got older news after newer ones, and that all got the newest.
func (r *run) checkNews(orders []ended) {
	for _, o := range orders {
		last := 0
		for _, notified := range r.notified {
			if !strings.HasPrefix(notified, o.id) {
				continue
			}
			_, n, err := events.ParseID(notified)
			if err != nil || n < last {
				r.violate("the customer was notified of %s after version %d", notified, last)
			}
			last = n
		}
		if last != o.version {
			r.violate("the last news to the customer of order %s had version %d, not %d", o.id, last, o.version)
		}
	}
}

// audit audits all runs on a bed so far. It covers every order, so it runs after many runs and not after each.
func (b *bed) audit(ctx context.Context) (breaches []string) {
	o := audit.Options{
		Server: b.server, Wiring: b.wiring, SagaTimeout: timeout, SentRetention: 30 * 24 * time.Hour,
		// After all of them, and before the retention of anything.
		Now: func() time.Time { return epoch.Add(24 * time.Hour) },
	}
	if b.bank != nil {
		o.Ledger = &gateway.Simulated{Book: b.bank.book}
	}
	report, err := audit.Run(ctx, o)
	if err != nil {
		return []string{err.Error()}
	}
	for _, i := range report.Invariants {
		breaches = append(breaches, i.Breaches...)
	}
	return breaches
}
