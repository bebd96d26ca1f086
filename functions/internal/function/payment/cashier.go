package payment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/function/batch"
	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/functions/internal/messaging/failpoint"
	"example.com/orders/sql/payments"
	"example.com/orders/sql/transaction"
)

// Cashier asks the gateway about requests and records its answers. A function embeds one.
type Cashier struct {
	// Gateway is set by Start from PAYMENT_GATEWAY and the other variables of gateway.Open, unless the host has set it.
	Gateway gateway.Gateway

	base    *base.Base
	records *batch.Collector[answered, string]
}

// UseGateway sets the gateway that a host shares among functions.
func (c *Cashier) UseGateway(g gateway.Gateway) { c.Gateway = g }

// Start prepares the cashier of the function b. Call it before that of the function.
func (c *Cashier) Start(b *base.Base, config map[string]string) (err error) {
	c.base = b
	c.records = batch.New(batch.Options{Size: 64, Parallel: 1, Timeout: 5 * time.Second, AloneTimeout: 10 * time.Second}, c.recordAll)
	if c.Gateway == nil {
		if c.Gateway, err = gateway.Open(config); err != nil {
			return err
		}
	}
	c.Gateway = gateway.Measure(c.Gateway, b.Metrics.ObserveGateway)
	return nil
}

// RequestAuthorizations stores the requests to authorize the amounts of orders, in the currency of each or in this one if an
// order names none, and returns what each is to have
// after the commit: nil for an order whose money was asked for before, or that has ended. An amount of 0 is authorized at
// once: it is among the effects as a fact.
func (c *Cashier) RequestAuthorizations(ctx context.Context, tx *transaction.Tx, currency string, facts []base.Fact[events.OrderCreated]) ([]base.Effect, error) {
	now := c.base.Now()
	ids, opened := make([]string, len(facts)), make([]payments.OpenPaymentParams, len(facts))
	for n, f := range facts {
		ids[n] = f.Data.OrderID
		opened[n] = payments.OpenPaymentParams{
			OrderID: f.Data.OrderID, Amount: f.Data.TotalAmount, Currency: cmp.Or(f.Data.Currency, currency), Items: encode(f.Data.Items),
			Cause: encode(events.CauseOf(f.Event)), CreatedAt: now, UpdatedAt: now,
		}
	}
	rows, err := open(ctx, tx, ids, opened)
	if err != nil {
		return nil, err
	}
	effects := make([]base.Effect, len(facts))
	l := ledger{actor: c.base.Name, at: now}
	var requested []string
	for n, f := range facts {
		row, known := rows[f.Data.OrderID]
		if !known || row.Status != payments.PaymentsStatusPENDING {
			continue
		}
		delete(rows, f.Data.OrderID) // of two facts about one order only the first counts
		row.Status = payments.PaymentsStatusREQUESTED
		r, err := requestOf(row)
		if err != nil {
			return nil, err
		}
		if r.Amount == 0 {
			e, err := l.end(row, answered{Request: r, answer: gateway.Answer{Status: gateway.Authorized, Reference: events.NoReference}})
			if err != nil {
				return nil, err
			}
			effects[n].Emitted = e.facts
			continue
		}
		r.first = true
		requested = append(requested, r.OrderID)
		effects[n].Then = func(ctx context.Context) string { return c.Ask(ctx, r) }
	}
	if len(requested) > 0 {
		if err := payments.New(tx.Deferred()).RequestAuthorizations(ctx, payments.RequestAuthorizationsParams{
			LeaseMicros: lease.Microseconds(), OrderIds: requested,
		}); err != nil {
			return nil, fmt.Errorf("request the authorizations of %d orders: %w", len(requested), err)
		}
	}
	return effects, l.write(ctx, tx)
}

// End is the end of an order whose money is to be refunded.
type End struct {
	OrderID string
	Reason  string // events.ReasonCanceled or events.ReasonFailed
	Cause   events.Cause
}

// RequestRefunds stores the requests to refund orders that have ended, and returns what each is to have after the commit. An
// order whose money was never asked for gets a row that keeps it from being asked for later.
func (c *Cashier) RequestRefunds(ctx context.Context, tx *transaction.Tx, ends []End) ([]base.Effect, error) {
	now := c.base.Now()
	ids, opened := make([]string, len(ends)), make([]payments.OpenPaymentParams, len(ends))
	for n, end := range ends {
		ids[n] = end.OrderID
		opened[n] = payments.OpenPaymentParams{OrderID: end.OrderID, Items: "[]", Cause: encode(end.Cause), CreatedAt: now, UpdatedAt: now}
	}
	rows, err := open(ctx, tx, ids, opened)
	if err != nil {
		return nil, err
	}
	effects := make([]base.Effect, len(ends))
	l := ledger{actor: c.base.Name, at: now}
	for n, end := range ends {
		row := rows[end.OrderID]
		delete(rows, end.OrderID) // of two ends of one order only the first counts
		row.Reason = &end.Reason
		row.Cause = encode(end.Cause)
		switch row.Status {
		case payments.PaymentsStatusPENDING:
			row.Status = payments.PaymentsStatusREFUNDREQUESTED
			if _, err := l.end(row, answered{answer: gateway.Answer{Status: gateway.Nothing}}); err != nil {
				return nil, err
			}
			continue
		case payments.PaymentsStatusREQUESTED, payments.PaymentsStatusAUTHORIZED:
		case payments.PaymentsStatusDECLINED:
			if !row.Settled {
				continue // it holds nothing
			}
			// An operator has said so. A call that was under way may have moved the money all the same.
		default:
			continue // refunded before
		}
		row.Status = payments.PaymentsStatusREFUNDREQUESTED
		r, err := requestOf(row)
		if err != nil {
			return nil, err
		}
		if r.Amount == 0 {
			e, err := l.end(row, answered{Request: r, answer: gateway.Answer{Status: gateway.Refunded, Reference: events.NoReference}})
			if err != nil {
				return nil, err
			}
			effects[n].Emitted = e.facts
			continue
		}
		if err := payments.New(tx.Deferred()).RequestRefund(ctx, payments.RequestRefundParams{
			OrderID: r.OrderID, Reason: row.Reason, Cause: row.Cause, LeaseMicros: lease.Microseconds(), UpdatedAt: now,
		}); err != nil {
			return nil, fmt.Errorf("request the refund of order %s: %w", r.OrderID, err)
		}
		r.first = true
		effects[n].Then = func(ctx context.Context) string { return c.Ask(ctx, r) }
	}
	return effects, l.write(ctx, tx)
}

// open ensures that orders have their rows, and locks them: whoever authorizes or refunds an order waits for whoever does the
// other.
func open(ctx context.Context, tx *transaction.Tx, ids []string, rows []payments.OpenPaymentParams) (map[string]payments.LockPaymentsRow, error) {
	// Sorted by key, so that two batches with the same orders do not deadlock.
	slices.SortFunc(rows, func(a, b payments.OpenPaymentParams) int { return strings.Compare(a.OrderID, b.OrderID) })
	if err := payments.New(tx.Deferred()).OpenPayments(ctx, rows); err != nil {
		return nil, fmt.Errorf("open the payments of %d orders: %w", len(rows), err)
	}
	return lock(ctx, tx, ids)
}

// Ask asks the gateway about a request, records the answer, and returns the outcome for the log. If anything fails on the
// way, the request stays open for a sweep.
func (c *Cashier) Ask(ctx context.Context, r Request) (outcome string) {
	outcome, _ = c.attempt(ctx, r)
	return outcome
}

// attempt is Ask; reached is whether the gateway was asked.
func (c *Cashier) attempt(ctx context.Context, r Request) (outcome string, reached bool) {
	failpoint.Pass(ctx, failpoint.BeforeGateway)
	answer, err := c.ask(ctx, &r)
	failpoint.Pass(ctx, failpoint.AfterGateway)
	reached = !gateway.IsNotAsked(err)
	if err == nil {
		err = r.check(answer)
	}
	outcome, failed := c.records.Do(ctx, answered{r, answer, err})
	if failed != nil {
		outcome = "the gateway's answer is not recorded, to be asked again: " + failed.Error()
	}
	return outcome, reached
}

// ask returns the gateway's answer. Unless nobody has asked before, the gateway is first asked what became of the key; so it
// is after a call whose outcome is unknown.
func (c *Cashier) ask(ctx context.Context, r *Request) (gateway.Answer, error) {
	if !r.first {
		if answer, err := c.lookup(ctx, r); !errors.Is(err, gateway.ErrUnknownKey) {
			return answer, err
		}
	}
	answer, err := c.send(ctx, r)
	if err == nil || gateway.IsNotAsked(err) {
		return answer, err
	}
	if found, unknown := c.lookup(ctx, r); unknown == nil {
		return found, nil
	}
	return answer, err
}

func (c *Cashier) lookup(ctx context.Context, r *Request) (gateway.Answer, error) {
	answer, err := c.Gateway.Lookup(ctx, r.key())
	if err == nil && answer.Status == gateway.Refunded && r.Reference == "" {
		// It was refunded by an attempt that knew the authorization, and was not recorded.
		err = c.find(ctx, r)
	}
	return answer, err
}

// send sends the request. A refund of an authorization with an unknown outcome first asks what became of that.
func (c *Cashier) send(ctx context.Context, r *Request) (gateway.Answer, error) {
	if r.Status == payments.PaymentsStatusREQUESTED {
		return c.Gateway.Authorize(ctx, gateway.Authorization{Key: r.key(), OrderID: r.OrderID, Amount: r.Amount, Currency: r.Currency})
	}
	if r.Reference == "" {
		if err := c.find(ctx, r); err != nil && !errors.Is(err, gateway.ErrUnknownKey) {
			return gateway.Answer{}, err
		}
	}
	answer, err := c.Gateway.Refund(ctx, gateway.Refund{
		Key: r.key(), AuthorizationKey: gateway.AuthorizationKey(r.OrderID), Reference: r.Reference, Amount: r.Amount, Currency: r.Currency,
	})
	if err == nil && answer.Status == gateway.Refunded && r.Reference == "" {
		err = c.find(ctx, r) // the authorization arrived between the two calls
	}
	return answer, err
}

// find asks the gateway for the reference of the request's authorization; it has none unless it was authorized.
func (c *Cashier) find(ctx context.Context, r *Request) error {
	answer, err := c.Gateway.Lookup(ctx, gateway.AuthorizationKey(r.OrderID))
	if err == nil && answer.Status == gateway.Authorized {
		r.Reference = answer.Reference
	}
	return err
}

// recordAll records a batch of answers.
func (c *Cashier) recordAll(ctx context.Context, all []answered, alone bool) (outcomes []string, err error) {
	transact := c.base.TransactShared
	if alone {
		transact = c.base.Transact
	}
	var effects []effect
	err = transact(ctx, func(ctx context.Context, tx *transaction.Tx) (emitted []event.Event, err error) {
		l := ledger{actor: c.base.Name, at: c.base.Now()}
		effects, err = l.record(ctx, tx, all)
		for _, e := range effects {
			emitted = append(emitted, e.facts...)
		}
		return emitted, err
	})
	if err != nil {
		return nil, err
	}
	outcomes = make([]string, len(effects))
	for n, e := range effects {
		outcomes[n] = e.outcome
		if e.status != "" {
			c.base.Metrics.CountPayment(string(e.status), e.reason)
		}
	}
	return outcomes, nil
}

// The bounds of a sweep: the requests that it claims at once, and its time.
const (
	claimed   = 64
	sweepTime = 20 * time.Second
)

// Sweep asks the gateway again about requests of one status whose wait is over, and returns the outcome for the log. Sweeps
// may overlap: each takes what no other one has. It stops when the gateway is not to be asked now.
func (c *Cashier) Sweep(ctx context.Context, status payments.PaymentsStatus) (outcome string, err error) {
	ctx, cancel := context.WithTimeout(ctx, sweepTime)
	defer cancel()
	asked := 0
	for ctx.Err() == nil {
		requests, err := c.claim(ctx, status)
		if err != nil {
			return "", err
		}
		asked += len(requests)
		if reached := c.askAll(ctx, requests); !reached || len(requests) < claimed {
			break
		}
	}
	if asked == 0 {
		return "", nil // on nearly every tick: not worth a log line
	}
	return fmt.Sprintf("asked the gateway again about %d payments", asked), nil
}

// askAll asks about requests at the same time, and returns whether the gateway was asked about any.
func (c *Cashier) askAll(ctx context.Context, requests []Request) bool {
	// A call under way is not cut by the end of the sweep: each bounds its own time.
	ctx = failpoint.In(context.WithoutCancel(ctx), c.base.Name)
	var all sync.WaitGroup
	var reached atomic.Bool
	for _, r := range requests {
		all.Go(func() {
			if _, asked := c.attempt(ctx, r); asked {
				reached.Store(true)
			}
		})
	}
	all.Wait()
	return reached.Load()
}

// claim takes requests whose wait is over, and leases them.
func (c *Cashier) claim(ctx context.Context, status payments.PaymentsStatus) (requests []Request, err error) {
	err = transaction.Run(ctx, c.base.DB, func(ctx context.Context, tx *transaction.Tx) error {
		requests = nil
		rows, err := payments.New(tx).ListDueRequests(ctx, payments.ListDueRequestsParams{Status: status, Limit: claimed})
		if err != nil || len(rows) == 0 {
			return err
		}
		ids := make([]string, len(rows))
		for n, row := range rows {
			r, err := requestOf(payments.LockPaymentsRow(row))
			if err != nil {
				return err
			}
			requests, ids[n] = append(requests, r), r.OrderID
		}
		return payments.New(tx.Deferred()).LeaseRequests(ctx, payments.LeaseRequestsParams{LeaseMicros: lease.Microseconds(), OrderIds: ids})
	})
	if err != nil {
		return nil, fmt.Errorf("claim payments that are %s: %w", status, err)
	}
	return requests, nil
}
