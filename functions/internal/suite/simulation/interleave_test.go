package simulation

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions"
	"example.com/orders/functions/cancelorder"
	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/knative"
	"example.com/orders/sql/schema"
)

// act is one thing that may happen to an order: a function and its input.
type act struct {
	service string
	topic   string // the topic of the delivered event about the order; empty for a command or a tick
	// unanswered loses the gateway's answer. Such an act is for the history of a pair.
	unanswered bool
}

var (
	reserve         = act{service: "reserve-stock", topic: events.OrderCreatedType}
	releaseCanceled = act{service: "release-stock", topic: events.OrderCanceledType}
	releaseFailed   = act{service: "release-stock", topic: events.OrderFailedType}
	confirm         = act{service: "finalize-order", topic: events.InventoryReservedType}
	fail            = act{service: "finalize-order", topic: events.InventoryRejectedType}
	cancel          = act{service: "cancel-order"}
	expire          = act{service: "expire-orders"}
)

// pair is two acts on one order, and its history.
type pair struct {
	first, second act
	before        []act
	short         bool // the order wants more than is available
	// grouped delivers the events of a second order with those of the first, as one batch, in one order to the first act and
	// in the other order to the second.
	grouped bool
	// declined has the gateway decline the order's payment; only where orders are paid.
	declined bool
}

// apart returns whether the two acts use different schemas, and so share no row.
func (p pair) apart() bool { return p.first.schema() != p.second.schema() }

// paid returns whether an act is only there where orders are paid.
func (a act) paid() bool {
	return a.schema() == schema.Payments || strings.HasPrefix(a.topic, "payment.")
}

// schema returns the schema that an act uses.
func (a act) schema() string {
	switch a.service {
	case "reserve-stock", "release-stock":
		return schema.Inventory
	case authorizes, refunds:
		return schema.Payments
	default:
		return schema.Orders
	}
}

var pairs = map[string]pair{
	"reserve twice": {reserve, reserve, nil, false, false, false},
	"reject twice":  {reserve, reserve, nil, true, false, false},
	"reserve and release of a canceled order":      {reserve, releaseCanceled, []act{cancel}, false, false, false},
	"reserve and release of an expired order":      {reserve, releaseFailed, []act{expire}, false, false, false},
	"reject and release of a canceled order":       {reserve, releaseCanceled, []act{cancel}, true, false, false},
	"release twice":                                {releaseCanceled, releaseCanceled, []act{reserve, cancel}, false, false, false},
	"release of what a rejection has failed twice": {releaseFailed, releaseFailed, []act{reserve, fail}, true, false, false},
	"confirm twice":                                {confirm, confirm, []act{reserve}, false, false, false},
	"fail twice":                                   {fail, fail, []act{reserve}, true, false, false},
	"confirm and cancel":                           {confirm, cancel, []act{reserve}, false, false, false},
	"confirm and expire":                           {confirm, expire, []act{reserve}, false, false, false},
	"fail and cancel":                              {fail, cancel, []act{reserve}, true, false, false},
	"fail and expire":                              {fail, expire, []act{reserve}, true, false, false},
	"cancel twice":                                 {cancel, cancel, nil, false, false, false},
	"cancel and expire":                            {cancel, expire, nil, false, false, false},
	"expire twice":                                 {expire, expire, nil, false, false, false},
	"cancel twice what was confirmed":              {cancel, cancel, []act{reserve, confirm}, false, false, false},
	"reserve and cancel":                           {reserve, cancel, nil, false, false, false},
	"reserve and expire":                           {reserve, expire, nil, false, false, false},
	"reserve again and confirm":                    {reserve, confirm, []act{reserve}, false, false, false},
	"release and confirm late":                     {releaseCanceled, confirm, []act{reserve, cancel}, false, false, false},
	"release and fail late":                        {releaseCanceled, fail, []act{reserve, cancel}, true, false, false},
	"release and cancel again":                     {releaseCanceled, cancel, []act{reserve, cancel}, false, false, false},
	"release and expire":                           {releaseFailed, expire, []act{reserve, expire}, false, false, false},

	"reserve two together, twice":                     {reserve, reserve, nil, false, true, false},
	"reserve two together and release a canceled one": {reserve, releaseCanceled, []act{cancel}, false, true, false},
	"confirm two together, twice":                     {confirm, confirm, []act{reserve}, false, true, false},
	"confirm two together and cancel one":             {confirm, cancel, []act{reserve}, false, true, false},
	"confirm two together and expire them":            {confirm, expire, []act{reserve}, false, true, false},
	"fail two together and expire them":               {fail, expire, []act{reserve}, true, true, false},
}

// stage is a bed with two more functions, the actors of a pair.
type stage struct {
	bed  *bed
	runs uint64
}

// player is one actor's function.
type player struct {
	function functions.Function
	member   *member
}

func (s *stage) player(t testing.TB, a act) player {
	t.Helper()
	at := slices.IndexFunc(s.bed.wiring.Services, func(w knative.Service) bool { return w.Name == a.service })
	f, m := s.bed.start(t, s.bed.wiring.Services[at])
	return player{f, m}
}

// perform returns a func that does an act with one function: a command on the first order of a run, a tick, or the delivery
// of the event of each order that has one.
func (s *stage) perform(t testing.TB, r *run, p player, a act, backwards bool) func(context.Context) error {
	t.Helper()
	switch a {
	case cancel:
		return func(ctx context.Context) error {
			_, err := p.function.(*cancelorder.Function).Cancel(ctx, r.orders[0].orderID, events.Cause{CorrelationID: "cancel"})
			if errors.Is(err, cancelorder.ErrFailed) {
				return nil
			}
			return err
		}
	case expire, sweepAuthorizations, sweepRefunds:
		return func(ctx context.Context) error { return p.member.handle(ctx, tick())[0] }
	}
	var es []event.Event
	for _, rec := range r.topics[a.topic] {
		es = append(es, rec.event.Clone())
	}
	require.NotEmpty(t, es, a.topic)
	// By id, since relays keep no order between orders.
	slices.SortFunc(es, func(a, b event.Event) int { return strings.Compare(a.ID(), b.ID()) })
	if backwards {
		slices.Reverse(es)
	}
	return func(ctx context.Context) error {
		if a.unanswered {
			r.unanswered = true
			defer func() { r.unanswered = false }()
		}
		return errors.Join(p.member.handle(ctx, es...)...)
	}
}

// open begins a run with one order and its history.
func (s *stage) open(t testing.TB, p pair, usual map[string]player) *run {
	t.Helper()
	s.runs++
	r := newRun(s.bed, s.runs)
	r.faulty, r.skews, r.declines = false, map[string]time.Duration{}, 0
	if p.declined {
		r.declines = 100
	}
	s.bed.run = r
	quantity := int64(2)
	if p.short {
		quantity = 9
	}
	var items []events.Item
	for _, c := range "BA" {
		sku := fmt.Sprintf("s%d-%c", r.seed, c)
		r.skus, r.initial[sku] = append(r.skus, sku), 5
		require.Equal(t, http.StatusCreated, r.send(t.Context(), http.MethodPut, "/api/inventory/"+sku, "", `{"availableQty":5}`))
		items = append(items, events.Item{SKU: sku, Quantity: quantity, UnitPrice: 10})
	}
	placed := 1
	if p.grouped {
		placed = 2
	}
	for i := range placed {
		o := &request{key: fmt.Sprintf("order-%d-%d", r.seed, i), items: items}
		r.orders = append(r.orders, o)
		r.place(t.Context(), o)
	}
	r.now = r.now.Add(timeout + time.Minute) // it may expire from now on
	for _, a := range append([]act{{}}, p.before...) {
		if a.service != "" {
			require.NoError(t, s.perform(t, r, usual[a.service], a, false)(t.Context()), "%v", a)
		}
		for _, name := range s.bed.wiring.Outboxes() {
			r.relay(t.Context(), name)
		}
	}
	if s.bed.bank != nil {
		_, err := s.bed.pools[schema.Payments].ExecContext(t.Context(), "UPDATE payments SET next_attempt_at = ? WHERE next_attempt_at IS NOT NULL", r.now)
		require.NoError(t, err)
	}
	return r
}

// stops returns whether a pair stops at a call: at every one but the begin. Where that gives hundreds of orders, as for two
// acts without a shared row, for the long transaction of a batch, or for the several transactions of a payment, it stops only
// at the first reads and locks, and at commits.
func (p pair) stops(c call) bool {
	if p.first.paid() || p.second.paid() {
		return c.text == commit || slices.ContainsFunc([]string{"LockPayments", "ListDueRequests", "LockReservations", "ListPendingBefore", "LockOrders"}, c.named)
	}
	if !p.apart() && (!p.grouped || p.second != expire) {
		return c.text != begin
	}
	return c.text == commit || slices.ContainsFunc([]string{
		"InsertHandled", "OpenReservation", "LockReservations", "ListPendingBefore", "LockOrders",
	}, c.named)
}

// play runs a pair in every order of its statements and returns their number, and the violations.
func (s *stage) play(t testing.TB, p pair, broken func(*tap)) (n int, violations []string) {
	t.Helper()
	usual := map[string]player{}
	for _, a := range p.before {
		usual[a.service] = s.player(t, a)
	}
	players := [2]player{s.player(t, p.first), s.player(t, p.second)}
	for _, one := range players {
		broken(one.member.tap)
	}
	n = everyOrder(func(choose func(int) int) {
		r := s.open(t, p, usual)
		var schedule []string
		actors := [2]*actor{newActor(players[0].member, p.stops), newActor(players[1].member, p.stops)}
		do := [2]func(context.Context) error{s.perform(t, r, players[0], p.first, false), s.perform(t, r, players[1], p.second, true)}
		interleave(t.Context(), t, s.bed.pools[schema.Operations], actors, do, func(options int) int {
			choice := choose(options)
			schedule = append(schedule, fmt.Sprintf("%d/%d", choice+1, options))
			return choice
		})
		for i, a := range actors {
			if verdict := delivery.Judge(delivery.Status(a.err)); verdict != delivery.Acknowledge {
				r.violate("the answer of %d is %v", i+1, a.err)
			}
		}
		r.drain(t.Context())
		r.check(t.Context())
		for _, v := range r.violations {
			violations = append(violations, strings.Join(schedule, " ")+": "+v)
		}
	})
	return n, violations
}

func newStage(t testing.TB, overlay string) *stage {
	t.Helper()
	return &stage{bed: newBed(t, overlay)}
}

// TestEveryOrderOfTheStatementsOfTwoOnOneOrder covers what a scheduler of steps cannot: the insides of concurrent
// transactions.
func TestEveryOrderOfTheStatementsOfTwoOnOneOrder(t *testing.T) {
	t.Parallel()
	// Two at a time: most of the time each waits for one of its actors.
	stages := make(chan *stage, 2)
	for range cap(stages) {
		stages <- newStage(t, knative.BaseName)
	}
	for name, p := range pairs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := <-stages
			defer func() { stages <- s }()
			s.assertSound(t, p, func(*tap) {})
		})
	}
}

// assertSound plays a pair and asserts that no order of its statements violates anything.
func (s *stage) assertSound(t *testing.T, p pair, broken func(*tap)) {
	t.Helper()
	n, violations := s.play(t, p, broken)
	assert.Empty(t, violations)
	assert.Empty(t, s.bed.audit(t.Context()))
	assert.Greater(t, n, 1)
	t.Logf("%d orders of the statements", n)
}

// TestAMissingLockIsFound checks that the orders of statements reveal a missing lock, which no order of whole transactions
// does.
func TestAMissingLockIsFound(t *testing.T) {
	unlocked := func(own *tap) {
		own.rewrite = replacing("LockOrders", "FOR UPDATE", "")
	}
	for _, name := range []string{"confirm and cancel", "fail and expire", "cancel and expire"} {
		t.Run(name, func(t *testing.T) {
			n, violations := newStage(t, knative.BaseName).play(t, pairs[name], unlocked)
			assert.NotEmpty(t, violations, "in %d orders of the statements", n)
			t.Logf("%d violations in %d orders of the statements", len(violations), n)
		})
	}
}
