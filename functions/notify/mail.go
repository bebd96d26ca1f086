package notify

import (
	"fmt"
	"strings"
	"time"
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
