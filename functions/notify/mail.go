package notify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"strings"
	"time"

	"example.com/orders/functions/internal/delivery"
)

// Mail is a mail to a customer.
type Mail struct {
	To      string
	Subject string
	Body    string
	// MessageID is made from the event's id, so that a mail sent twice can be told to be one.
	MessageID string
	At        time.Time
}

func newMail(n news) Mail {
	return Mail{
		To:        n.email,
		Subject:   "Your order is " + n.status,
		Body:      fmt.Sprintf("Your order %s is %s.\r\n", n.orderID, n.status),
		MessageID: "<" + strings.ReplaceAll(n.event.ID(), "#", ".") + "@orders.example.com>",
		At:        n.event.Time(),
	}
}

// smtpMailer sends by SMTP, without TLS and without a login: to a relay of one's own.
type smtpMailer struct{ addr, from string }

func newSMTP(addr, from string) (smtpMailer, error) {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return smtpMailer{}, fmt.Errorf("SMTP_ADDR is %q: give host:port: %w", addr, err)
	}
	if from == "" {
		from = "orders@example.com"
	}
	address, err := mail.ParseAddress(from)
	if err != nil {
		return smtpMailer{}, fmt.Errorf("SMTP_FROM is %q: give a mail address: %w", from, err)
	}
	return smtpMailer{addr: addr, from: address.Address}, nil
}

// Send hands the mail to the relay. A permanent refusal (5yz of RFC 5321) is poison.
func (s smtpMailer) Send(ctx context.Context, m Mail) error {
	err := s.send(ctx, m)
	if reply, ok := errors.AsType[*textproto.Error](err); ok && reply.Code >= 500 {
		return delivery.Poison(err)
	}
	return err
}

func (s smtpMailer) send(ctx context.Context, m Mail) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return errors.Join(err, conn.Close())
		}
	}
	host, _, _ := net.SplitHostPort(s.addr) // checked by newSMTP
	client, err := smtp.NewClient(conn, host)
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	defer func() { _ = client.Close() }() // after Quit there is nothing to lose
	if err := client.Mail(s.from); err != nil {
		return err
	}
	if err := client.Rcpt(m.To); err != nil {
		return err
	}
	body, err := client.Data()
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(body, "From: %s\r\nTo: %s\r\nSubject: %s\r\nMessage-ID: %s\r\nDate: %s\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n%s",
		s.from, m.To, m.Subject, m.MessageID, m.At.Format(time.RFC1123Z), m.Body); err != nil {
		return err
	}
	if err := body.Close(); err != nil {
		return err
	}
	// The relay has taken the mail: a failing farewell must not send it again.
	_ = client.Quit()
	return nil
}
