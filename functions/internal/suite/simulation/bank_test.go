package simulation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/functions/internal/function/payment"
	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/sql/payments"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/transaction"
)

// bank is the payment gateway of a bed. What goes wrong with a call follows from the seed, the key and the number of the call,
// since calls about different orders come at the same time.
type bank struct {
	bed  *bed
	book *gateway.Book

	mu    sync.Mutex
	calls map[string]int // by key
	late  []late
}

// late is a request that its caller has given up, and that the gateway gets later.
type late struct {
	key    string
	n      int // the number of the call
	arrive func()
}

func newBank(b *bed) *bank { return &bank{bed: b, book: &gateway.Book{}, calls: map[string]int{}} }

var errNoAnswer = errors.New("the gateway does not answer")

// draw returns a number below 100 for the n-th call of a kind with a key.
func (b *bank) draw(kind, key string, n int) int {
	h := fnv.New64a()
	fmt.Fprint(h, b.bed.run.seed, " ", kind, " ", key, " ", n)
	return int(h.Sum64() >> 11 % 100)
}

func (b *bank) count(key string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls[key]++
	return b.calls[key]
}

// act lets a request have its effect now, never, later, or now and again later, and its answer be lost.
func (b *bank) act(key string, effect func(n int) (gateway.Answer, error)) (gateway.Answer, error) {
	r, n := b.bed.run, b.count(key)
	at := 100
	if r.faulty {
		at = b.draw("act", key, n)
	}
	delay := func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.late = append(b.late, late{key, n, func() { _, _ = effect(n) }})
	}
	switch {
	case at < 12: // the request is lost
		return gateway.Answer{}, errNoAnswer
	case at < 34:
		delay()
		return gateway.Answer{}, errNoAnswer
	case at < 44:
		delay()
	}
	answer, err := effect(n)
	if at >= 44 && at < 64 || r.unanswered {
		return gateway.Answer{}, errNoAnswer
	}
	return answer, err
}

// Authorize implements gateway.Gateway.
func (b *bank) Authorize(_ context.Context, a gateway.Authorization) (gateway.Answer, error) {
	return b.act(a.Key, func(n int) (gateway.Answer, error) {
		decline := ""
		if b.draw("decline", a.OrderID, 0) < b.bed.run.declines {
			decline = "card_declined"
		}
		if b.bed.run.mutation.newKeys && n > 1 {
			a.Key = fmt.Sprintf("%d.%s", n, a.Key)
		}
		answer, _, err := b.book.Authorize(a, decline)
		return answer, err
	})
}

// Refund implements gateway.Gateway.
func (b *bank) Refund(_ context.Context, f gateway.Refund) (gateway.Answer, error) {
	return b.act(f.Key, func(int) (gateway.Answer, error) {
		if b.bed.run.mutation.closesNothing {
			if _, err := b.book.Authorization(f.AuthorizationKey); errors.Is(err, gateway.ErrUnknownKey) {
				return gateway.Answer{Status: gateway.Nothing, Currency: f.Currency}, nil
			}
		}
		answer, _, err := b.book.Refund(f)
		return answer, err
	})
}

// Lookup implements gateway.Gateway.
func (b *bank) Lookup(_ context.Context, key string) (gateway.Answer, error) {
	r, n := b.bed.run, b.count("lookup "+key)
	if r.unanswered || r.faulty && b.draw("lookup", key, n) < 35 {
		return gateway.Answer{}, errNoAnswer
	}
	return b.find(key)
}

func (b *bank) find(key string) (gateway.Answer, error) {
	answer, err := b.book.Authorization(key)
	if errors.Is(err, gateway.ErrUnknownKey) {
		return b.book.RefundOf(key)
	}
	return answer, err
}

// holding returns what the gateway has about an order.
func (b *bank) holding(orderID string) gateway.Holding {
	all := b.book.Holdings("", 1<<20)
	if at := slices.IndexFunc(all, func(h gateway.Holding) bool { return h.OrderID == orderID }); at >= 0 {
		return all[at]
	}
	return gateway.Holding{}
}

// pay does one thing that has to do with money.
func (r *run) pay(ctx context.Context) {
	switch n := r.random.IntN(20); {
	case n < 5:
		r.sweep(ctx, authorizes, false)
	case n < 10:
		r.sweep(ctx, refunds, false)
	case n < 14:
		r.arrive()
	case n < 16:
		r.settlePayment(ctx)
	case n < 19:
		r.cancelOne(ctx)
	default:
		r.expire(ctx)
	}
}

// arrive brings the gateway a request that is late, and returns whether there was one.
func (r *run) arrive() bool {
	b := r.bed.bank
	if len(b.late) == 0 {
		return false
	}
	slices.SortFunc(b.late, func(x, y late) int { return cmp.Or(cmp.Compare(x.key, y.key), cmp.Compare(x.n, y.n)) })
	at := r.random.IntN(len(b.late))
	r.logf("late: call %d with %s", b.late[at].n, b.late[at].key)
	b.late[at].arrive()
	b.late = slices.Delete(b.late, at, at+1)
	return true
}

// The Services that ask the gateway.
const (
	authorizes = "authorize-payment"
	refunds    = "refund-payment"
)

// opens is the status of the requests that a Service asks about.
var opens = map[string]payments.PaymentsStatus{
	authorizes: payments.PaymentsStatusREQUESTED, refunds: payments.PaymentsStatusREFUNDREQUESTED,
}

// requests lists the orders with a request of a Service whose outcome is unknown.
func (r *run) requests(ctx context.Context, service string) (ids []string) {
	r.rows(ctx, schema.Payments, "SELECT order_id FROM payments WHERE status = ? ORDER BY order_id", func(scan func(...any) error) error {
		var id string
		err := scan(&id)
		ids = append(ids, id)
		return err
	}, opens[service])
	return ids
}

// sweep sends a Service a tick, after the wait of some requests, or of all, has ended: a lease too, as if its holder were
// slow. It returns the number of requests that are open before it.
func (r *run) sweep(ctx context.Context, service string, all bool) int {
	ids := r.requests(ctx, service)
	due := 0
	for _, id := range ids {
		at := r.now.Add(time.Hour)
		if all || r.chance(60) {
			at = r.now.Add(-time.Second)
			due++
		}
		if _, err := r.bed.pools[schema.Payments].ExecContext(ctx, "UPDATE payments SET next_attempt_at = ? WHERE order_id = ?", at, id); err != nil {
			r.violate("end the wait of %s: %v", id, err)
		}
	}
	if due == 0 {
		return len(ids)
	}
	handle := func(ctx context.Context) error { return r.bed.members[service].handle(ctx, tick())[0] }
	var err error
	if due == 1 {
		err, _ = r.within(ctx, service, handle)
	} else {
		err = handle(ctx) // which of several concurrent calls a fault would hit depends on timing
	}
	r.logf("sweep %s, %d due: %d", service, due, delivery.Status(err))
	return len(ids)
}

// settlePayment has an operator say what he sees at the gateway about a request. What he does not see there he calls
// declined, although the request may be late; about a refund he says nothing then.
func (r *run) settlePayment(ctx context.Context) {
	service := []string{authorizes, refunds}[r.random.IntN(2)]
	ids := r.requests(ctx, service)
	if len(ids) == 0 {
		return
	}
	id := ids[r.random.IntN(len(ids))]
	key := gateway.AuthorizationKey(id)
	if service == refunds {
		key = gateway.RefundKey(id)
	}
	answer, err := r.bed.bank.find(key)
	if err != nil {
		if service == refunds {
			return
		}
		answer = gateway.Answer{Status: gateway.Declined, Reason: "not_found"}
	}
	_, err = outbox.Store{DB: r.bed.pools[schema.Payments], Now: func() time.Time { return r.now }}.Transact(ctx, func(ctx context.Context, tx *transaction.Tx) ([]event.Event, error) {
		return payment.Settle(ctx, tx, r.now, "operator", id, answer)
	})
	if err != nil {
		r.violate("settle %s as %s: %v", id, answer.Status, err)
	}
	r.logf("settle %s as %s", id, answer.Status)
}

// checkPayment checks that the gateway, the payment and its log agree about an order, and that only a confirmed one is paid.
func (r *run) checkPayment(ctx context.Context, o ended) {
	var status string
	var amount, version, logged, most int64
	r.rows(ctx, schema.Payments, "SELECT status, amount, version FROM payments WHERE order_id = ?", func(scan func(...any) error) error {
		return scan(&status, &amount, &version)
	}, o.id)
	r.rows(ctx, schema.Payments, "SELECT COALESCE(SUM(amount), 0), COALESCE(MAX(amount), 0) FROM payment_log WHERE order_id = ?", func(scan func(...any) error) error {
		return scan(&logged, &most)
	}, o.id)
	h := r.bed.bank.holding(o.id)
	held := int64(0)
	if o.status == "CONFIRMED" {
		held = o.total
		if status != "AUTHORIZED" || amount != o.total {
			r.violate("order %s is CONFIRMED, and its payment of %d is %s", o.id, amount, status)
		}
	} else if status != "DECLINED" && status != "VOID" && status != "REFUNDED" {
		r.violate("order %s is %s, and its payment is %s", o.id, o.status, status)
	}
	if h.Authorized-h.Refunded != held || logged != held || h.Authorized != most || most > o.total {
		r.violate("order %s is %s and costs %d: the gateway has authorized %d and refunded %d, the log has %d of at most %d",
			o.id, o.status, o.total, h.Authorized, h.Refunded, logged, most)
	}
	r.checkFacts(ctx, schema.Payments, o.id, version)
}
