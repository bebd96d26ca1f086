package simulation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"time"

	"example.com/orders/events"
	"example.com/orders/functions/cancelorder"
	"example.com/orders/functions/createorder"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/web/rest"
	"example.com/orders/functions/publishoutbox"
	"example.com/orders/sql/messaging"

	"github.com/cloudevents/sdk-go/v2/event"
)

// epoch is the start time of every run.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// run is one run of the scheduler: its seed determines all decisions.
type run struct {
	bed    *bed
	seed   uint64
	random *rand.Rand // makes decisions
	ids    *rand.Rand // makes the functions' ids, so that a function that takes more of them changes no decision
	faulty bool       // faults happen; not while the run is drained
	now    time.Time
	skews  map[string]time.Duration

	orders      []*request // the requests of customers
	cancels     []*request
	adjustments []*request
	skus        []string
	initial     map[string]int64

	topics   map[string][]record
	newest   map[string]int // by source and order: the number of the newest fact in a topic
	sources  []*source
	refusals map[string]int // by event id: how often the broker has refused it
	notified []string       // the ids of the events whose customers were notified, in order
	deaths   map[string]int // by event id: the number of deliveries in which notify has died

	declines   int  // the percentage of orders whose payment is declined
	unanswered bool // the gateway does what it is asked for, and answers nothing

	trace      []string
	violations []string
	mutation   mutation
}

// request is a request of a customer or the warehouse, which is repeated until there is an answer.
type request struct {
	key     string
	items   []events.Item
	sku     string
	delta   int64
	orderID string
	answer  string // empty without an answer
}

func newRun(b *bed, seed uint64) *run {
	r := &run{
		bed: b, seed: seed, random: rand.New(rand.NewPCG(seed, 1)), ids: rand.New(rand.NewPCG(seed, 2)), faulty: true, now: epoch,
		skews: map[string]time.Duration{}, topics: map[string][]record{}, newest: map[string]int{}, refusals: map[string]int{}, deaths: map[string]int{},
		initial: map[string]int64{}, declines: 15,
	}
	for _, s := range b.wiring.Services {
		r.skews[s.Name] = time.Duration(r.random.IntN(121)-60) * time.Second
	}
	for _, s := range b.wiring.Sources {
		r.sources = append(r.sources, &source{KafkaSource: s, slow: r.chance(25)})
	}
	return r
}

func (r *run) skew(name string) time.Duration { return r.skews[name] }

func (r *run) logf(format string, args ...any) {
	r.trace = append(r.trace, r.now.Format("15:04:05 ")+fmt.Sprintf(format, args...))
}

func (r *run) violate(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.violations = append(r.violations, text)
	r.logf("VIOLATION %s", text)
}

func (r *run) chance(percent int) bool { return r.random.IntN(100) < percent }

// simulate runs a seed on a bed, drains it and checks it. It returns the run with its violations and steps.
func simulate(ctx context.Context, b *bed, seed uint64, m mutation) *run {
	r := newRun(b, seed)
	r.mutation = m
	b.run = r
	b.notify.Mailer = nil
	if seed%2 == 0 {
		b.notify.Mailer = mailer{r}
	}
	for _, d := range b.dispatchers {
		d.restart(ctx, r)
	}
	r.open(ctx)
	for range 50 + r.random.IntN(40) {
		r.step(ctx)
		r.dispatch(ctx)
	}
	r.drain(ctx)
	r.check(ctx)
	return r
}

// open adds stock and draws the orders: few units, so that some orders come short.
func (r *run) open(ctx context.Context) {
	for i := range 1 + r.random.IntN(3) {
		sku := fmt.Sprintf("s%d-%c", r.seed, 'A'+i)
		r.skus = append(r.skus, sku)
		r.initial[sku] = r.random.Int64N(8)
		status := r.send(ctx, http.MethodPut, "/api/inventory/"+sku, "", fmt.Sprintf(`{"availableQty":%d}`, r.initial[sku]))
		r.logf("stock %d of %s: %d", r.initial[sku], sku, status)
	}
	for i := range 2 + r.random.IntN(3) {
		o := &request{key: fmt.Sprintf("order-%d-%d", r.seed, i)}
		for range 1 + r.random.IntN(3) {
			sku := r.skus[r.random.IntN(len(r.skus))]
			if r.chance(4) {
				sku = "unknown"
			}
			o.items = append(o.items, events.Item{SKU: sku, Quantity: 1 + r.random.Int64N(3), UnitPrice: r.random.Int64N(1000)})
		}
		r.orders = append(r.orders, o)
	}
}

// step does one thing and advances the time.
func (r *run) step(ctx context.Context) {
	// Longer than the wait after the broker's refusals: a row is then due, whatever the jitter.
	r.now = r.now.Add(time.Duration(5+r.random.IntN(20)) * time.Second)
	if r.bed.bank != nil && r.chance(25) {
		r.pay(ctx)
		return
	}
	switch n := r.random.IntN(100); {
	case n < 9:
		r.place(ctx, r.orders[r.random.IntN(len(r.orders))])
	case n < 13:
		r.cancelOne(ctx)
	case n < 33:
		all := r.bed.wiring.Outboxes()
		r.relay(ctx, all[r.random.IntN(len(all))])
	case n < 36:
		r.adjustOne(ctx)
	case n < 38:
		r.expire(ctx)
	case n < 40:
		r.poison()
	case n < 47:
		r.redeliver(ctx)
	case n < 62:
		r.deliverBatch(ctx)
	default:
		r.deliverOne(ctx)
	}
}

// within runs one step of a member, perhaps with a fault inside.
func (r *run) within(ctx context.Context, name string, do func(ctx context.Context) error) (err error, died bool) {
	m := r.bed.members[name]
	if !r.faulty || !r.chance(18) {
		return do(ctx), false
	}
	f := chooseFault(r.random)
	if f.kind == canceled && name == "create-order" {
		// No fault for members that form batches of orders: a batch is stored at its own time.
		f.kind = lost
	}
	ctx, f.cancel = context.WithCancel(ctx)
	defer f.cancel()
	m.tap.set(f.around)
	err = do(ctx)
	m.tap.set(nil)
	for m.db.Stats().InUse > 0 {
		runtime.Gosched() // a transaction whose context has ended is rolled back in the background
	}
	if f.hit {
		r.logf("  %s: %s", name, f)
	}
	return err, f.dead
}

// place sends an order, for the first time or again: a customer may repeat it even after an answer. Its order.created has
// either version.
func (r *run) place(ctx context.Context, o *request) {
	asked := events.CreateOrder{CustomerEmail: "alice@example.com", Items: o.items}
	r.bed.create.EventVersion = 1 + r.random.IntN(2)
	hash := rest.KeyHash(http.MethodPost, "/api/orders", rest.Anonymous, o.key)
	err, _ := r.within(ctx, "create-order", func(ctx context.Context) error {
		accepted, err := r.bed.create.Create(ctx, createorder.Command{Order: asked, Channel: events.ChannelHTTP, KeyHash: hash, Cause: events.Cause{CorrelationID: o.key}})
		if err == nil && o.orderID != "" && o.orderID != accepted.OrderID {
			r.violate("the key %s made the orders %s and %s", o.key, o.orderID, accepted.OrderID)
		}
		if err == nil {
			o.orderID, o.answer = accepted.OrderID, accepted.Status
		}
		return err
	})
	r.logf("place %s, version %d: %s, failed: %t", o.key, r.bed.create.EventVersion, o.orderID, err != nil)
}

// cancelOne cancels an order that its customer knows.
func (r *run) cancelOne(ctx context.Context) {
	known := slices.DeleteFunc(slices.Clone(r.orders), func(o *request) bool { return o.orderID == "" })
	if len(known) == 0 {
		return
	}
	c := &request{orderID: known[r.random.IntN(len(known))].orderID}
	r.cancels = append(r.cancels, c)
	r.sendCancel(ctx, c)
}

func (r *run) sendCancel(ctx context.Context, c *request) {
	err, _ := r.within(ctx, "cancel-order", func(ctx context.Context) error {
		canceled, err := r.bed.cancel.Cancel(ctx, c.orderID, events.Cause{CorrelationID: "cancel"})
		if err == nil || errors.Is(err, cancelorder.ErrFailed) {
			c.answer = canceled.Status
			return nil
		}
		return err
	})
	r.logf("cancel %s: %s, failed: %t", c.orderID, c.answer, err != nil)
}

// adjustOne adds or removes a few units.
func (r *run) adjustOne(ctx context.Context) {
	a := &request{key: fmt.Sprintf("adjust-%d-%d", r.seed, len(r.adjustments)), sku: r.skus[r.random.IntN(len(r.skus))], delta: 1 + r.random.Int64N(4)}
	if r.chance(30) {
		a.delta = -a.delta
	}
	r.adjustments = append(r.adjustments, a)
	r.sendAdjustment(ctx, a)
}

func (r *run) sendAdjustment(ctx context.Context, a *request) {
	var status int
	_, _ = r.within(ctx, "inventory-api", func(ctx context.Context) error {
		status = r.send(ctx, http.MethodPost, "/api/inventory/"+a.sku+"/adjustments", a.key, fmt.Sprintf(`{"delta":%d,"reason":"counted"}`, a.delta))
		return nil
	})
	if status == http.StatusOK || status == http.StatusConflict && !r.faulty {
		a.answer = http.StatusText(status)
	}
	r.logf("adjust %s by %d: %d", a.sku, a.delta, status)
}

func (r *run) send(ctx context.Context, method, path, key, body string) int {
	q := httptest.NewRequestWithContext(ctx, method, path, strings.NewReader(body))
	q.Header.Set("Content-Type", "application/json")
	if key != "" {
		q.Header.Set(rest.KeyHeader, key)
	}
	answer := httptest.NewRecorder()
	r.bed.stock.Handle(answer, q)
	return answer.Code
}

// relay wakes the relay of a schema for the waiting shards, in random order.
func (r *run) relay(ctx context.Context, name string) (waiting int) {
	shards, err := messaging.New(r.bed.pools[name]).ListPendingShards(ctx, outbox.AllShards())
	if err != nil {
		r.violate("look for shards: %v", err)
		return 0
	}
	if len(shards) == 0 {
		return 0
	}
	r.random.Shuffle(len(shards), func(i, j int) { shards[i], shards[j] = shards[j], shards[i] })
	e := event.New()
	e.SetID("poke")
	e.SetSource("/simulation")
	e.SetType(publishoutbox.PokeType)
	e.DataEncoded = fmt.Appendf(nil, `{"shards":%s}`, strings.ReplaceAll(fmt.Sprint(wide(shards)), " ", ","))
	e.SetDataContentType(event.ApplicationJSON)
	service := "publish-outbox-" + name
	err, _ = r.within(ctx, service, func(ctx context.Context) error { return r.bed.members[service].handle(ctx, e)[0] })
	r.logf("relay %s, shards %v: %d", name, shards, delivery.Status(err))
	return len(shards)
}

// wide converts bytes to numbers, since bytes would be printed as text.
func wide(shards []uint8) []int {
	numbers := make([]int, len(shards))
	for i, s := range shards {
		numbers[i] = int(s)
	}
	return numbers
}

// expire sends expire-orders a tick.
func (r *run) expire(ctx context.Context) {
	err, _ := r.within(ctx, "expire-orders", func(ctx context.Context) error { return r.bed.members["expire-orders"].handle(ctx, tick())[0] })
	r.logf("expire: %d", delivery.Status(err))
}

// tick is the event of a PingSource.
func tick() event.Event {
	e := event.New()
	e.SetID("tick")
	e.SetSource("/simulation")
	e.SetType(base.TickType)
	return e
}

// drain stops all faults and continues until nothing is in flight. It expires no order: each must have been ended by its
// events, or by an earlier tick.
func (r *run) drain(ctx context.Context) {
	r.logf("drain")
	r.faulty = false
	for range 60 {
		// Longer than a claim of notify, a hold of a row, and a wait for the broker.
		r.now = r.now.Add(2 * holdFor)
		busy := 0
		for _, o := range r.orders {
			if o.answer == "" {
				r.place(ctx, o)
				busy++
			}
		}
		for _, c := range r.cancels {
			if c.answer == "" {
				r.sendCancel(ctx, c)
				busy++
			}
		}
		for _, a := range r.adjustments {
			if a.answer == "" {
				r.sendAdjustment(ctx, a)
				busy++
			}
		}
		for _, name := range r.bed.wiring.Outboxes() {
			busy += r.relay(ctx, name)
		}
		if r.bed.bank != nil {
			busy += r.sweep(ctx, authorizes, true) + r.sweep(ctx, refunds, true)
			if r.arrive() {
				busy++
			}
		}
		for _, s := range r.sources {
			for s.next(r) != nil {
				busy++
				if !r.deliver(ctx, s, s.next(r)) {
					break
				}
			}
		}
		if busy == 0 {
			return
		}
	}
	r.violate("the system does not come to rest")
}
