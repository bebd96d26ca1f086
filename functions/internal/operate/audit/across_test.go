package audit_test

import (
	"strconv"
	"sync"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/operate/audit"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/schema"
)

// apart gives each schema a DSN of its own, so that each has its own snapshot. Before that of the schema orders, which is the
// last, something happens.
func (s *system) apart(before func()) {
	s.Helper()
	own := map[string]schema.Own{}
	for n, name := range schema.All {
		c, err := mysql.ParseDSN(s.options.Server.DSN)
		require.NoError(s, err)
		c.Params = map[string]string{"net_write_timeout": strconv.Itoa(100 + n)}
		own[name] = schema.Own{DSN: c.FormatDSN()}
	}
	once := sync.OnceFunc(before)
	last := own[schema.Orders]
	last.Renew = func() (string, error) {
		once()
		return last.DSN, nil
	}
	own[schema.Orders] = last
	s.options.Server.Own = own
}

// changed is how many differences of orders that changed between the snapshots an invariant has.
const changed = "changed while it was read"

func TestOrdersThatChangeBetweenTheSnapshotsOfServersAreNoBreach(t *testing.T) {
	t.Parallel()
	p := startPaying(t, newTopicsOf(t, paymentOverlay))
	all := p.all()
	pending := p.order(2)
	p.apart(func() {
		p.order(2)
		p.settle()
		p.takeBack(all.confirmed)
		p.settle()
	})

	r := p.audit()

	assertClean(t, r)
	assert.Equal(t, 2, find(t, r, audit.Holdings).Numbers[changed], "%s and a new order were confirmed in between", pending)
	r = p.audit()
	assertClean(t, r)
	assert.Zero(t, find(t, r, audit.Holdings).Numbers[changed], "nothing is under way")
}

func TestABreachBetweenServersIsSeenWhileOtherOrdersChange(t *testing.T) {
	t.Parallel()
	c := newTopicsOf(t, paymentOverlay)
	for name, test := range map[string]struct {
		breaks    func(p *paying, o paid)
		invariant string
		says      string
	}{
		"a confirmed order holds less": {func(p *paying, o paid) {
			p.exec(schema.Inventory, "UPDATE reservation_log SET delta_reserved = 2 WHERE order_id = ? AND sku = 'SKU-1' AND status = 'RESERVED'", o.confirmed)
			p.exec(schema.Inventory, "UPDATE inventory SET available_qty = available_qty + 1, reserved_qty = reserved_qty - 1 WHERE sku = 'SKU-1'")
		}, audit.Holdings, "is CONFIRMED, wants 3 of SKU-1 and holds 2"},
		"a canceled order holds": {func(p *paying, o paid) {
			p.exec(schema.Inventory, "UPDATE reservation_log SET delta_reserved = -1 WHERE order_id = ? AND sku = 'SKU-1' AND status = 'RELEASED'", o.canceled)
			p.exec(schema.Inventory, "UPDATE inventory SET available_qty = available_qty - 1, reserved_qty = reserved_qty + 1 WHERE sku = 'SKU-1'")
		}, audit.Holdings, "is CANCELED and holds 1 of SKU-1"},
		"an order that nobody accepted holds": {func(p *paying, _ paid) {
			p.exec(schema.Inventory, inventoryLog, "x#1", "SKU-1", "0", 1, "RESERVED")
			p.exec(schema.Inventory, "UPDATE inventory SET available_qty = available_qty - 1, reserved_qty = reserved_qty + 1 WHERE sku = 'SKU-1'")
		}, audit.Holdings, "order 0 was never accepted and holds 1 of SKU-1"},
		"a confirmed order has no payment": {func(p *paying, o paid) {
			p.exec(schema.Payments, "DELETE FROM payment_log WHERE order_id = ?", o.confirmed)
			p.exec(schema.Payments, "DELETE FROM payments WHERE order_id = ?", o.confirmed)
			p.exec(schema.Payments, "DELETE FROM outbox WHERE aggregate_id = ?", o.confirmed)
			p.options.Ledger = nil
		}, audit.Money, "is CONFIRMED and has no payment"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startPaying(t, c)
			o := p.all()
			test.breaks(p, o)
			p.order(2)
			p.apart(p.settle)

			r := p.audit()

			assertOnly(t, r, test.invariant, test.says)
			assert.Equal(t, 1, find(t, r, audit.Holdings).Numbers[changed], "the order that was confirmed meanwhile")
		})
	}
}

func TestPagesWithDifferencesShareTheirConnections(t *testing.T) {
	t.Parallel()
	p := startPaying(t, newTopicsOf(t, paymentOverlay))
	p.order(2)
	_, from := p.incremental(p.checkpoint())
	require.Len(t, from.Orders, 1)
	p.order(2) // read in another page than the order that is known
	server, traffic := mysqltest.Counted(t, p.options.Server)
	p.options.Server = server
	p.apart(p.settle)

	r, _ := p.incremental(from)

	require.Equal(t, 2, find(t, r, audit.Holdings).Numbers[changed])
	again := []string{schema.Orders, schema.Inventory} // the reservations have changed, so nobody asks for the payments
	assert.EqualValues(t, len(schema.All)+len(again), traffic.Connections.Load())
}
