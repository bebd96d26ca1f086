// Package notify tells customers what has become of their orders. Consumes order.confirmed, order.failed and
// order.canceled; what comes out is a line in the log and, when SMTP_ADDR is set, a mail.
//
// A mail and a transaction cannot commit together, so the customer is told at least once: once in the normal case, and
// again only when the function dies between the send and its mark. Both mails then have the same Message-ID.
package notify

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/functions/internal/delivery"
	"example.com/orders/functions/internal/failpoint"
	"example.com/orders/functions/internal/instance"
	"example.com/orders/functions/internal/tracing"
	"example.com/orders/sql/notifications"
	"example.com/orders/sql/schema"
)

// Function tells customers.
type Function struct {
	instance.Instance
	// Mailer sends the mails; SMTP_ADDR and the other SMTP variables set it. Without one there is only the log.
	Mailer Mailer
}

// Mailer sends one mail, within ctx. An error that is poison will be the same every time.
type Mailer interface {
	Send(ctx context.Context, m Mail) error
}

// New returns the function as it is deployed.
func New() *Function {
	return &Function{Instance: instance.Instance{Name: "notify", Schema: schema.Notifications}}
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
	return f.Instance.Start(ctx, config)
}

const (
	// sendTimeout bounds a send.
	sendTimeout = 10 * time.Second
	// lease is how long a claim holds when its owner has died: longer than a send, and shorter than the deliveries of
	// an event are spread over.
	lease = 30 * time.Second
)

// errBusy makes the event come again: it, or another one about the same order, is being told right now.
var errBusy = errors.New("the customer is being told of this order by another delivery")

// Handle tells the customer once, and not what newer news have overtaken.
func (f *Function) Handle(ctx context.Context, e event.Event) error {
	return f.Observe(ctx, e, func() (outcome string, err error) {
		n, err := read(e)
		if err != nil {
			return "", delivery.Poison(err)
		}
		claim := f.NewID()
		status, err := f.claim(ctx, n, claim)
		switch {
		case err != nil:
			return "", err
		case status == notifications.NotificationsStatusSENT:
			return "duplicate", nil
		case status == notifications.NotificationsStatusSUPPRESSED:
			return "suppressed", nil
		}
		if err := f.send(ctx, n); err != nil {
			return "", errors.Join(err, f.release(ctx, n, claim))
		}
		return "sent", f.mark(ctx, n, claim)
	})
}

// news is what an event tells a customer.
type news struct {
	event   event.Event
	orderID string
	version int
	email   string
	status  string
}

func read(e event.Event) (news, error) {
	n := news{event: e}
	var err error
	switch e.Type() {
	case events.OrderConfirmedType:
		var data events.OrderConfirmed
		data, err = events.Decode[events.OrderConfirmed](e)
		n.email, n.status = data.CustomerEmail, "CONFIRMED"
	case events.OrderFailedType:
		var data events.OrderFailed
		data, err = events.Decode[events.OrderFailed](e)
		n.email, n.status = data.CustomerEmail, "FAILED ("+data.Reason+")"
	case events.OrderCanceledType:
		var data events.OrderCanceled
		data, err = events.Decode[events.OrderCanceled](e)
		n.email, n.status = data.CustomerEmail, "CANCELED"
	default:
		err = fmt.Errorf("notify does not handle events of type %q", e.Type())
	}
	if err != nil {
		return n, err
	}
	// The id of a fact counts the facts of its order in its source (events.New): that is the order's version.
	if n.orderID, n.version, err = events.ParseID(e.ID()); err != nil {
		return n, err
	}
	if n.orderID != e.Subject() || n.version > math.MaxInt32 {
		return n, fmt.Errorf("event id %q is not that of a fact about order %s", e.ID(), e.Subject())
	}
	return n, nil
}

// claim makes this event the one that is being told, under the lock of the order's row. It returns CLAIMED when it is,
// SENT or SUPPRESSED when there is nothing to tell, and errBusy while another one holds the claim.
func (f *Function) claim(ctx context.Context, n news, claim string) (status notifications.NotificationsStatus, err error) {
	err = f.transact(ctx, func(ctx context.Context, q *notifications.Queries) error {
		if err := q.OpenConversation(ctx, n.orderID); err != nil {
			return fmt.Errorf("open the conversation about order %s: %w", n.orderID, err)
		}
		conversation, err := q.LockConversation(ctx, n.orderID)
		if err != nil {
			return fmt.Errorf("lock the conversation about order %s: %w", n.orderID, err)
		}
		status, err = q.GetNotificationStatus(ctx, notifications.GetNotificationStatusParams{EventID: n.event.ID(), Source: n.event.Source()})
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("look for an earlier notification: %w", err)
		}
		if status == notifications.NotificationsStatusSENT || status == notifications.NotificationsStatusSUPPRESSED {
			return nil
		}
		// Our own claim is there when its commit was thought to be lost.
		if conversation.Busy == 1 && (conversation.Claim == nil || *conversation.Claim != claim) {
			return errBusy
		}
		begun, err := q.NewestClaimed(ctx, n.orderID)
		if err != nil {
			return fmt.Errorf("look for news about order %s that were begun to be told: %w", n.orderID, err)
		}
		status = notifications.NotificationsStatusCLAIMED
		if conversation.Version >= n.version || begun > int64(n.version) {
			status = notifications.NotificationsStatusSUPPRESSED
		}
		if err := q.UpsertNotification(ctx, notifications.UpsertNotificationParams{
			Source: n.event.Source(), EventID: n.event.ID(), OrderID: n.orderID, OrderVersion: n.version, Type: n.event.Type(),
			CustomerEmail: n.email, Status: status, CreatedAt: f.Now(),
		}); err != nil {
			return fmt.Errorf("store the notification of event %s: %w", n.event.ID(), err)
		}
		if status == notifications.NotificationsStatusSUPPRESSED {
			return nil
		}
		if err := q.ClaimConversation(ctx, notifications.ClaimConversationParams{
			OrderID: n.orderID, Claim: &claim, LeaseMicros: int(lease.Microseconds()),
		}); err != nil {
			return fmt.Errorf("claim the conversation about order %s: %w", n.orderID, err)
		}
		return nil
	})
	return status, err
}

// send writes the line of the log and, with a mailer, sends the mail.
func (f *Function) send(ctx context.Context, n news) (err error) {
	ctx, end := tracing.Span(tracing.Of(ctx, n.event), "mail")
	defer func() { end(err) }()
	if f.Mailer != nil {
		ctx, cancel := context.WithTimeout(ctx, sendTimeout)
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

// mark records that the customer was told, even when the delivery has timed out meanwhile.
func (f *Function) mark(ctx context.Context, n news, claim string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return f.transact(ctx, func(ctx context.Context, q *notifications.Queries) error {
		now := f.Now()
		if _, err := q.EndConversation(ctx, notifications.EndConversationParams{OrderID: n.orderID, Claim: &claim, Version: n.version}); err != nil {
			return fmt.Errorf("end the conversation about order %s: %w", n.orderID, err)
		}
		if err := q.MarkNotificationSent(ctx, notifications.MarkNotificationSentParams{EventID: n.event.ID(), Source: n.event.Source(), SentAt: &now}); err != nil {
			return fmt.Errorf("mark the notification of event %s: %w", n.event.ID(), err)
		}
		return nil
	})
}

// release gives the claim of a send that failed back, so that the next delivery need not wait for its end.
func (f *Function) release(ctx context.Context, n news, claim string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return f.transact(ctx, func(ctx context.Context, q *notifications.Queries) error {
		_, err := q.ReleaseConversation(ctx, notifications.ReleaseConversationParams{OrderID: n.orderID, Claim: &claim})
		return err
	})
}

func (f *Function) transact(ctx context.Context, work func(context.Context, *notifications.Queries) error) error {
	return f.Transact(ctx, func(ctx context.Context, tx *sql.Tx) ([]event.Event, error) {
		return nil, work(ctx, notifications.New(tx))
	})
}
