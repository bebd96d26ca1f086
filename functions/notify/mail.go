package notify

import (
	"fmt"
	"strings"
	"time"

	"example.com/orders/functions/internal/observe/oneline"
)

// Mail is a mail to a customer.
type Mail struct {
	To      string
	Subject string
	Body    string
	// MessageID derives from the event's id, so that mail clients recognise a duplicate.
	MessageID string
	At        time.Time
}

func newMail(n *news) Mail {
	return Mail{
		To:        n.email,
		Subject:   "Your order is " + n.status,
		Body:      fmt.Sprintf("Your order %s is %s.\r\n", n.orderID, n.status),
		MessageID: "<" + strings.ReplaceAll(n.event.ID(), "#", ".") + "@orders.example.com>",
		At:        n.event.Time(),
	}
}

// masked is an error whose text has no address. Relays quote the recipient in their answers, and the text gets into the log,
// the headers of a dead letter and the records of operators.
type masked struct{ error }

func (m masked) Error() string { return oneline.Masked(m.error.Error()) }
func (m masked) Unwrap() error { return m.error }
