package schema

import (
	"context"
	"fmt"
	"net"

	"github.com/go-sql-driver/mysql"
)

// secure makes connections as safe as the server's fields say, and refuses those that would carry passwords and orders over a
// network to a server that has not proved who it is.
func (s Server) secure(c *mysql.Config) error {
	verified := c.TLSConfig == "true" && !c.AllowFallbackToPlaintext
	switch {
	case s.TLS != nil && c.TLSConfig != "" && !verified:
		return fmt.Errorf("%s has tls=%s, which does not verify the server, and MYSQL_TLS_CA_FILE or MYSQL_TLS_CERT_FILE is set: leave tls out of the DSN", s.From(), c.TLSConfig)
	case !s.AllowPlaintext && s.TLS == nil && !verified && !onThisMachine(c):
		return fmt.Errorf("%s leads to %s without TLS that verifies the server: add tls=true to it, with MYSQL_TLS_CA_FILE for an authority of your own; "+
			"or set MYSQL_ALLOW_PLAINTEXT=true if you trust the network in between", s.From(), c.Addr)
	case s.TLS == nil && s.Renew == nil:
		return nil
	}
	return c.Apply(mysql.BeforeConnect(func(_ context.Context, c *mysql.Config) error { return s.renew(c) }))
}

// renew sets what a new connection needs and what may have changed since the last one.
func (s Server) renew(c *mysql.Config) error {
	if s.TLS != nil && c.Net != "unix" {
		settings, err := s.TLS()
		if err != nil {
			return err
		}
		if settings.ServerName, _, err = net.SplitHostPort(c.Addr); err != nil {
			return fmt.Errorf("%s: %w", s.From(), err)
		}
		c.TLS = settings
	}
	if s.Renew != nil {
		dsn, err := s.Renew()
		if err != nil {
			return err
		}
		fresh, err := s.parse(dsn)
		if err != nil {
			return err
		}
		c.User, c.Passwd = fresh.User, fresh.Passwd
	}
	return nil
}

// onThisMachine returns whether a connection never leaves this machine. A name other than localhost counts as another machine,
// whatever it resolves to now.
func onThisMachine(c *mysql.Config) bool {
	if c.Net == "unix" {
		return true
	}
	host, _, err := net.SplitHostPort(c.Addr)
	return err == nil && (host == "localhost" || net.ParseIP(host).IsLoopback())
}
