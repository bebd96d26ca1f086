package notify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/web/secret"
)

// The values of SMTP_TLS.
const (
	noTLS       = "none"     // unencrypted: for a relay on the same machine or network
	startTLS    = "starttls" // usually on port 587
	implicitTLS = "implicit" // usually on port 465
)

// smtpMailer sends mails through a relay, each over a new connection.
type smtpMailer struct {
	addr, host, from string

	tls            string
	user, password string         // no login when user is empty
	roots          *x509.CertPool // nil for the machine's roots
}

// newSMTP reads SMTP_ADDR, SMTP_FROM, SMTP_TLS, SMTP_USER and SMTP_PASSWORD (or its file).
func newSMTP(config map[string]string) (smtpMailer, error) {
	s := smtpMailer{addr: config["SMTP_ADDR"], from: config["SMTP_FROM"], tls: config["SMTP_TLS"], user: config["SMTP_USER"]}
	var err error
	if s.password, err = secret.Read(config, "SMTP_PASSWORD"); err != nil {
		return s, err
	}
	if s.host, _, err = net.SplitHostPort(s.addr); err != nil {
		return s, fmt.Errorf("SMTP_ADDR is %q: give host:port: %w", s.addr, err)
	}
	if s.from == "" {
		s.from = "orders@example.com"
	}
	address, err := mail.ParseAddress(s.from)
	if err != nil {
		return s, fmt.Errorf("SMTP_FROM is %q: give a mail address: %w", s.from, err)
	}
	if s.from = address.Address; !ascii(s.from) {
		return s, fmt.Errorf("SMTP_FROM is %q: give an address in ASCII, with its domain in the xn-- form", s.from)
	}
	if s.tls == "" {
		s.tls = noTLS
	}
	switch {
	case !slices.Contains([]string{noTLS, startTLS, implicitTLS}, s.tls):
		return s, fmt.Errorf("SMTP_TLS is %q: give %s (port 587), %s (port 465) or %s", s.tls, startTLS, implicitTLS, noTLS)
	case (s.user == "") != (s.password == ""):
		return s, errors.New("one of SMTP_USER and SMTP_PASSWORD is set: give both, or neither for a relay without a login")
	case s.user != "" && s.tls == noTLS:
		return s, fmt.Errorf("SMTP_USER is set and SMTP_TLS is %s: the password would travel unencrypted: set SMTP_TLS to %s or %s", noTLS, startTLS, implicitTLS)
	}
	return s, nil
}

// Send hands the mail to the relay. If the relay permanently refuses this mail (5yz to its recipient or its text), the error
// is poison. A refused login or sender is not: every mail would fail until an operator fixes it.
func (s smtpMailer) Send(ctx context.Context, m Mail) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // once the relay has accepted the mail, nothing can be lost
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	client, err := s.login(conn)
	if err != nil {
		return err
	}
	if supported, _ := client.Extension("SMTPUTF8"); !supported && !ascii(m.To) {
		return delivery.Poison(fmt.Errorf("the relay %s cannot send to %s: it does not support SMTPUTF8, which a non-ASCII address needs", s.addr, m.To))
	}
	if err := client.Mail(s.from); err != nil {
		return fmt.Errorf("send from %s: %w", s.from, err)
	}
	if err := client.Rcpt(m.To); err != nil {
		return refusal(err)
	}
	body, err := client.Data()
	if err != nil {
		return refusal(err)
	}
	if _, err := fmt.Fprintf(body, "From: %s\r\nTo: %s\r\nSubject: %s\r\nMessage-ID: %s\r\nDate: %s\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n%s",
		s.from, m.To, m.Subject, m.MessageID, m.At.Format(time.RFC1123Z), m.Body); err != nil {
		return err
	}
	if err := body.Close(); err != nil {
		return refusal(err)
	}
	// The relay has accepted the mail: a failing QUIT must not send it again.
	_ = client.Quit()
	return nil
}

// login greets the relay and, as configured, starts TLS and logs in. It never falls back to less security: a relay that
// offers less may be an impostor.
func (s smtpMailer) login(conn net.Conn) (*smtp.Client, error) {
	secure := &tls.Config{ServerName: s.host, RootCAs: s.roots, MinVersion: tls.VersionTLS12}
	if s.tls == implicitTLS {
		conn = tls.Client(conn, secure)
	}
	client, err := smtp.NewClient(conn, s.host)
	if err != nil {
		return nil, fmt.Errorf("greet the relay %s: %w", s.addr, err)
	}
	if err := client.Hello("localhost"); err != nil {
		return nil, fmt.Errorf("greet the relay %s: %w", s.addr, err)
	}
	if s.tls == startTLS {
		if offered, _ := client.Extension("STARTTLS"); !offered {
			return nil, fmt.Errorf("the relay %s offers no STARTTLS: set SMTP_TLS to a mode that it supports", s.addr)
		}
		if err := client.StartTLS(secure); err != nil {
			return nil, fmt.Errorf("STARTTLS with the relay %s: %w", s.addr, err)
		}
	}
	if s.user == "" {
		return client, nil
	}
	if _, mechanisms := client.Extension("AUTH"); !slices.Contains(strings.Fields(mechanisms), "PLAIN") {
		return nil, fmt.Errorf("the relay %s offers no login with AUTH PLAIN, but %q", s.addr, mechanisms)
	}
	if err := client.Auth(smtp.PlainAuth("", s.user, s.password, s.host)); err != nil {
		return nil, fmt.Errorf("log in to the relay %s as %s: %w", s.addr, s.user, err)
	}
	return client, nil
}

// refusal returns an error about the mail itself, as poison if it is permanent.
func refusal(err error) error {
	if reply, ok := errors.AsType[*textproto.Error](err); ok && reply.Code >= 500 {
		return delivery.Poison(err)
	}
	return err
}

func ascii(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf })
}
