package simulation

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"example.com/orders/knative"
	"example.com/orders/sql/schema"
)

// mutation breaks the system on purpose.
type mutation struct {
	loseRecord        bool // the broker acknowledges a record that it has not stored
	acknowledgeBefore bool // a source acknowledges a record that its function has not handled
	newKeys           bool // an authorization is sent again with another key
	closesNothing     bool // the gateway does not close the key of an authorization that it is asked to refund first
	// rewrite and drop change the statements of a function, by Service name.
	rewrite map[string]func(query string) string
	drop    map[string]func(c call) bool
}

func (m mutation) apply(b *bed) {
	for name, rewrite := range m.rewrite {
		b.members[name].tap.rewrite = rewrite
	}
	for name, drop := range m.drop {
		b.members[name].tap.drop = drop
	}
}

func dropping(queries ...string) func(call) bool {
	return func(c call) bool {
		for _, name := range queries {
			if c.named(name) {
				return true
			}
		}
		return false
	}
}

func replacing(query, old, replacement string) func(string) string {
	return func(text string) string {
		if !(call{text: text}).named(query) {
			return text
		}
		return strings.Replace(text, old, replacement, 1)
	}
}

const relayOfOrders = "publish-outbox-" + schema.Orders

// enough is the number of seeds that must find a mutation.
const enough = 100

// TestSimulationFindsWhatIsBroken checks that the simulation finds these faults.
func TestSimulationFindsWhatIsBroken(t *testing.T) {
	for name, m := range map[string]mutation{
		"the broker loses a record that it has acknowledged":    {loseRecord: true},
		"a source acknowledges before its function has handled": {acknowledgeBefore: true},
		"reserving pays no heed to the row of the order": {rewrite: map[string]func(string) string{
			"reserve-stock": replacing("LockReservations", "status", "'PENDING' AS status"),
		}},
		"releasing does not log what it gives back":               {drop: map[string]func(call) bool{"release-stock": dropping("InsertReservationLog")}},
		"reserving takes what is there and says that it took all": {drop: map[string]func(call) bool{"reserve-stock": dropping("SetLevel")}},
		"an order that comes alone pays no heed to its row": {rewrite: map[string]func(string) string{
			"reserve-stock": replacing("InsertReservation", "VALUES (?, ?, 1, ?, ?)", "VALUES (?, ?, 1, ?, ?) ON DUPLICATE KEY UPDATE status = status"),
		}},
		"an order that comes alone takes one unit less": {rewrite: map[string]func(string) string{
			"reserve-stock": replacing("TakeStock", "available_qty = available_qty -", "available_qty = available_qty + 1 -"),
		}},
		"the outbox loses what a function emits": {drop: map[string]func(call) bool{"finalize-order": dropping("InsertEvent")}},
		"an order's state guards nothing": {rewrite: map[string]func(string) string{
			"finalize-order": replacing("LockOrders", "status,", "'PENDING' AS status,"),
		}},
		"an order that is remembered is assumed to be as it was": {drop: map[string]func(call) bool{"finalize-order": dropping("MustHaveChanged")}},
		"an order that comes alone takes what does not exist":    {drop: map[string]func(call) bool{"reserve-stock": dropping("MustHaveChanged")}},
		"customers hear of what was overtaken": {rewrite: map[string]func(string) string{
			"notify": replacing("LockConversations", "version,", "0 AS version,"),
		}},
		"an idempotency key is not kept": {rewrite: map[string]func(string) string{
			"create-order": replacing("InsertOrder", "VALUES (?, ?, ?, ?, ?, ?, ?,", "VALUES (?, ?, ?, ?, ?, ?, IF(? IS NULL, NULL, NULL),"),
		}},
		"no relay sends what a process has left": {rewrite: map[string]func(string) string{
			relayOfOrders: replacing("ListDue", "o.status IN ('NEW', 'ERROR')", "o.status = 'ERROR'"),
		}},
		"a fact does not wait for the one before that a process holds": {rewrite: map[string]func(string) string{
			relayOfOrders: func(text string) string { // ListHeld, which comes behind other queries
				return strings.Replace(text, "WHERE shard = ? AND status = 'NEW' AND next_attempt_at IS NOT NULL", "WHERE shard = ? AND 1 = 0", 1)
			},
		}},
		"a mail is sent and not marked": {drop: map[string]func(call) bool{"notify": dropping("MarkNotificationsSent")}},
	} {
		t.Run(name, func(t *testing.T) { m.find(t, knative.BaseName) })
	}
}

// TestSimulationFindsWhatIsBrokenAboutMoney is TestSimulationFindsWhatIsBroken where orders are paid.
func TestSimulationFindsWhatIsBrokenAboutMoney(t *testing.T) {
	for name, m := range map[string]mutation{
		"a request is sent again with another key":     {newKeys: true},
		"a gateway closes no key that it is to refund": {closesNothing: true},
		"no refund is asked for while the authorization is unknown": {rewrite: map[string]func(string) string{
			refunds: replacing("LockPayments", "status,", "IF(status = 'REQUESTED', 'VOID', status) AS status,"),
		}},
		"an order that has ended leaves no row to meet": {drop: map[string]func(call) bool{refunds: dropping("OpenPayment")}},
		"an authorization is not logged":                {drop: map[string]func(call) bool{authorizes: dropping("InsertPaymentLog")}},
		"a refund is not logged":                        {drop: map[string]func(call) bool{refunds: dropping("InsertPaymentLog")}},
		"an authorization is not recorded":              {drop: map[string]func(call) bool{authorizes: dropping("EndRequest")}},
		"a refund emits nothing":                        {drop: map[string]func(call) bool{refunds: dropping("InsertEvent")}},
		"an authorization emits nothing":                {drop: map[string]func(call) bool{authorizes: dropping("InsertEvent")}},
		"a refund is asked for and not stored":          {drop: map[string]func(call) bool{refunds: dropping("RequestRefund")}},
		"nobody asks again about an authorization": {rewrite: map[string]func(string) string{
			authorizes: replacing("ListDueRequests", "WHERE", "WHERE 1 = 0 AND"),
		}},
		"nobody asks again about a refund": {rewrite: map[string]func(string) string{
			refunds: replacing("ListDueRequests", "WHERE", "WHERE 1 = 0 AND"),
		}},
	} {
		t.Run(name, func(t *testing.T) { m.find(t, overlayPayment) })
	}
}

// find asserts that some seed finds the mutation.
func (m mutation) find(t *testing.T, overlay string) {
	t.Helper()
	bed := newBed(t, overlay)
	m.apply(bed)
	for seed := uint64(1); seed <= enough; seed++ {
		if r := simulate(t.Context(), bed, seed, m); len(r.violations) > 0 {
			t.Logf("seed %d: %s", seed, r.violations[0])
			return
		}
	}
	assert.Fail(t, "not found", "in %d seeds", enough)
}

// TestTheStateGuardsWhatTheInboxForgets checks that a fact has no second effect even after the inbox has purged its id.
func TestTheStateGuardsWhatTheInboxForgets(t *testing.T) {
	bed := newBed(t, overlayPayment)
	m := mutation{rewrite: map[string]func(string) string{}, drop: map[string]func(call) bool{}}
	for _, name := range []string{"reserve-stock", "release-stock", "finalize-order", authorizes, refunds} {
		m.rewrite[name] = replacing("ListHandled", "WHERE", "WHERE 1 = 0 AND")
		m.drop[name] = dropping("InsertHandled")
	}
	m.apply(bed)
	for seed := uint64(1); seed <= enough; seed++ {
		assert.Empty(t, simulate(t.Context(), bed, seed, m).violations, "seed %d", seed)
	}
}
