// Package notify tells customers what has become of their orders. Consumes order.confirmed, order.failed and
// order.canceled; what comes out is a line in the log and, when SMTP_ADDR is set, a mail.
//
// A mail and a transaction cannot commit together, so the customer is told at least once: once in the normal case, and
// again only when the function dies between the send and its mark. Both mails then have the same Message-ID.
package notify

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/function/batch"
	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/messaging/failpoint"
	"example.com/orders/functions/internal/observe/tracing"
	"example.com/orders/sql/schema"
)

// Function tells customers.
type Function struct {
	base.Base
	// Mailer sends the mails; SMTP_ADDR and the other SMTP variables set it. Without one there is only the log.
	Mailer Mailer

	sendTimeout time.Duration // bounds a send
}

// Mailer sends one mail, within ctx. An error that is poison will be the same every time.
type Mailer interface {
	Send(ctx context.Context, m Mail) error
}

// New returns the function as it is deployed.
func New() *Function {
	return &Function{Base: base.Base{Name: "notify", Schema: schema.Notifications}, sendTimeout: sendTimeout}
}

// Start reads SMTP_ADDR (host:port), SMTP_FROM, SMTP_TLS, SMTP_USER and SMTP_PASSWORD, and opens the database.
func (f *Function) Start(ctx context.Context, config map[string]string) error {
	if f.Mailer == nil && config["SMTP_ADDR"] != "" {
		mailer, err := newSMTP(config)
		if err != nil {
			return err
		}
		f.Mailer = mailer
	}
	on(f, func(o events.OrderConfirmed) (email, status string) { return o.CustomerEmail, "CONFIRMED" })
	on(f, func(o events.OrderFailed) (email, status string) { return o.CustomerEmail, "FAILED (" + o.Reason + ")" })
	on(f, func(o events.OrderCanceled) (email, status string) { return o.CustomerEmail, "CANCELED" })
	return f.Base.Start(ctx, config)
}

const (
	// sendTimeout bounds a send.
	sendTimeout = 10 * time.Second
	// settleTimeout bounds the record of what was sent, even when the time of its batch is over.
	settleTimeout = 5 * time.Second
	// lease is how long a claim holds when its owner has died: longer than a send, and shorter than the deliveries of
	// an event are spread over.
	lease = 30 * time.Second
)

// on registers how customers are told of facts of type T, of which read finds the address and the status. Mails take their
// time, each its own: news that come while one is sent do not wait for it.
func on[T events.Data](f *Function, read func(T) (email, status string)) {
	options := batch.Options{Size: 64, Parallel: 1, Timeout: 20 * time.Second, AloneTimeout: 20 * time.Second}
	if f.Mailer != nil {
		options.Parallel, options.Eager = 32, true
	}
	base.Answer(&f.Base, options, func(ctx context.Context, facts []base.Fact[T], alone bool) ([]base.Outcome, error) {
		outcomes := make([]base.Outcome, len(facts))
		var all []*news
		first := map[string]int{}
		for i, fact := range facts {
			if _, again := first[fact.Event.ID()]; again {
				continue
			}
			first[fact.Event.ID()] = i
			n, err := newNews(fact.Event, &outcomes[i])
			if err != nil {
				outcomes[i].Err = delivery.Poison(err)
				continue
			}
			n.email, n.status = read(fact.Data)
			all = append(all, n)
		}
		if err := f.tell(ctx, all, alone); err != nil {
			return nil, err
		}
		for i, fact := range facts {
			if n := first[fact.Event.ID()]; n != i { // it is as good as told when the first one is
				outcomes[i] = base.Outcome{Text: "duplicate", Err: outcomes[n].Err}
			}
		}
		return outcomes, nil
	})
}

// news is what an event tells a customer.
type news struct {
	event   event.Event
	orderID string
	version int
	email   string
	status  string
	outcome *base.Outcome
}

// newNews reads of which version of its order an event tells: the id of a fact counts the facts of its order in its source
// (events.New).
func newNews(e event.Event, outcome *base.Outcome) (*news, error) {
	orderID, version, err := events.ParseID(e.ID())
	if err != nil {
		return nil, err
	}
	if orderID != e.Subject() || version > math.MaxInt32 {
		return nil, fmt.Errorf("event id %q is not that of a fact about order %s", e.ID(), e.Subject())
	}
	return &news{event: e, orderID: orderID, version: version, outcome: outcome}, nil
}

// tell claims what customers are to be told, tells them, and marks that they were told. Each of the news gets its outcome;
// the error is about all of them.
func (f *Function) tell(ctx context.Context, all []*news, alone bool) error {
	if len(all) == 0 {
		return nil
	}
	claim := f.NewID()
	claimed, err := f.claim(ctx, all, claim, alone)
	if err != nil {
		return err
	}
	var sends sync.WaitGroup
	for _, n := range claimed {
		if f.Mailer == nil {
			n.outcome.Err = f.send(ctx, n)
			continue
		}
		sends.Go(func() { n.outcome.Err = f.send(ctx, n) })
	}
	sends.Wait()
	if err := f.settle(ctx, claimed, claim); err != nil {
		for _, n := range claimed {
			n.outcome.Err = errors.Join(n.outcome.Err, err)
		}
	}
	return nil
}

// send writes the line of the log and, with a mailer, sends the mail.
func (f *Function) send(ctx context.Context, n *news) (err error) {
	ctx, end := tracing.Span(tracing.Of(ctx, n.event), "mail")
	defer func() { end(err) }()
	if f.Mailer != nil {
		ctx, cancel := context.WithTimeout(ctx, f.sendTimeout)
		defer cancel()
		if err := f.Mailer.Send(ctx, newMail(n)); err != nil {
			return fmt.Errorf("send the mail about order %s: %w", n.orderID, err)
		}
	}
	f.Log.InfoContext(ctx, fmt.Sprintf("Email to %s: your order %s is %s", n.email, n.orderID, n.status),
		"function", f.Name, "event_id", n.event.ID(), "order_id", n.orderID, "correlation_id", events.CauseOf(n.event).CorrelationID)
	failpoint.Pass(failpoint.In(ctx, f.Name), failpoint.MailSent)
	return nil
}
