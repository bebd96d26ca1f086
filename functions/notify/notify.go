// Package notify informs customers how their orders end. Consumes order.confirmed, order.failed and order.canceled, and the
// ticks of a PingSource; emits no event, but logs each mail and, if SMTP_ADDR is set, sends it.
//
// A mail and a transaction cannot commit together, so a mail is sent at least once: a second time only if the function dies
// between the send and its mark. Both mails then have the same Message-ID.
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
	"example.com/orders/functions/internal/observe/oneline"
	"example.com/orders/functions/internal/observe/tracing"
	"example.com/orders/sql/schema"
)

// Function notifies customers.
type Function struct {
	base.Base
	// Mailer sends the mails; SMTP_ADDR and the other SMTP variables set it. Without one, mails are only logged.
	Mailer Mailer
	// Retention is how long a notification, which has an address, is kept; RETAIN_NOTIFICATIONS sets it. It must be longer
	// than the topic or the dead letters can deliver an event again.
	Retention time.Duration

	sendTimeout time.Duration // bounds a send
	linger      time.Duration // how long a mail waits for others, to share their transactions; MAIL_LINGER sets it
	maxMails    int           // how many mails an address gets within an hour; 0 for any number; MAX_MAILS sets it
}

// Mailer sends one mail, within ctx. It returns poison if a retry would fail again.
type Mailer interface {
	Send(ctx context.Context, m Mail) error
}

// New returns the function as it is deployed.
func New() *Function {
	f := &Function{Base: base.Base{Name: "notify", Schema: schema.Notifications}, sendTimeout: sendTimeout}
	f.On(base.TickType, f.tick)
	return f
}

// Start reads SMTP_ADDR (host:port), SMTP_FROM, SMTP_TLS, SMTP_USER, SMTP_PASSWORD, MAX_MAILS, and MAIL_LINGER and
// RETAIN_NOTIFICATIONS, Go durations, and opens the database.
func (f *Function) Start(ctx context.Context, config map[string]string) (err error) {
	if f.Retention == 0 {
		if f.Retention, err = base.Duration(config, "RETAIN_NOTIFICATIONS", 40*24*time.Hour); err != nil {
			return err
		}
	}
	if f.maxMails, err = maxMails(config); err != nil {
		return err
	}
	if f.linger, err = base.Duration(config, "MAIL_LINGER", 0); err != nil {
		return err
	}
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
	// sendTimeout bounds one send.
	sendTimeout = 10 * time.Second
	// settleTimeout bounds the transaction that marks what was sent, which runs even after the batch's deadline.
	settleTimeout = 5 * time.Second
	// lease is how long a claim lasts after its owner has died: longer than a send, shorter than the retries of an event.
	lease = 30 * time.Second
)

// on registers the handling of facts of type T; read returns the address and the status. Mails are sent in parallel batches:
// news that arrive during a send do not wait for it.
func on[T events.Data](f *Function, read func(T) (email, status string)) {
	options := batch.Options{Size: 64, Parallel: 1, Linger: f.linger, Timeout: 20 * time.Second, AloneTimeout: 20 * time.Second}
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
			if n.email == events.Forgotten {
				outcomes[i].Text = "forgotten"
				continue
			}
			all = append(all, n)
		}
		if err := f.notify(ctx, all, alone); err != nil {
			return nil, err
		}
		for i, fact := range facts {
			if n := first[fact.Event.ID()]; n != i { // its outcome is that of the first one
				outcomes[i] = base.Outcome{Text: "duplicate", Err: outcomes[n].Err}
			}
		}
		return outcomes, nil
	})
}

// news is the notification for one event.
type news struct {
	event   event.Event
	orderID string
	version int
	email   string
	status  string
	outcome *base.Outcome

	counted bool // an earlier delivery has claimed it
	limited bool // this delivery found its address to have too many mails
}

// newNews builds the news for e. The version of the order comes from the event's id, which counts the facts of one order
// (events.New).
func newNews(e event.Event, outcome *base.Outcome) (*news, error) {
	orderID, version, err := events.ParseID(e.ID())
	if err != nil {
		return nil, err
	}
	if orderID != e.Subject() || version > math.MaxInt32 {
		return nil, fmt.Errorf("event id %q does not belong to a fact about order %s", e.ID(), e.Subject())
	}
	return &news{event: e, orderID: orderID, version: version, outcome: outcome}, nil
}

// notify claims news, sends them, and marks them as sent. It sets the outcome of each; an error concerns all of them.
func (f *Function) notify(ctx context.Context, all []*news, alone bool) error {
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

// send sends the mail, if there is a mailer, and logs it with a masked address: logs are kept and read elsewhere than the orders.
func (f *Function) send(ctx context.Context, n *news) (err error) {
	ctx, end := tracing.Span(tracing.Of(ctx, n.event), "mail")
	defer func() { end(err) }()
	if f.Mailer != nil {
		ctx, cancel := context.WithTimeout(ctx, f.sendTimeout)
		defer cancel()
		if err := f.Mailer.Send(ctx, newMail(n)); err != nil {
			return fmt.Errorf("send the mail about order %s: %w", n.orderID, masked{err})
		}
	}
	f.Log.InfoContext(ctx, fmt.Sprintf("Email to %s: your order %s is %s", oneline.Masked(n.email), n.orderID, n.status),
		"function", f.Name, "event_id", n.event.ID(), "order_id", n.orderID, "correlation_id", events.CauseOf(n.event).CorrelationID)
	failpoint.Pass(failpoint.In(ctx, f.Name), failpoint.MailSent)
	return nil
}
