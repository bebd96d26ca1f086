// Package schema names the MySQL schemas of the services and opens connection pools to them. All connections have the
// session settings that the queries rely on.
package schema

import (
	"crypto/tls"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"example.com/orders/sql/transaction"
)

// The schemas: one per service, and one for the records of operators' actions. No service reads another service's schema.
const (
	Orders        = "orders"
	Inventory     = "inventory"
	Payments      = "payments"
	Notifications = "notifications"
	Operations    = "operations"
)

// All lists the schemas.
var All = []string{Orders, Inventory, Payments, Notifications, Operations}

// WithOutbox lists the schemas with the tables of sql/messaging: an inbox, and an outbox, which needs a relay.
var WithOutbox = []string{Orders, Inventory, Payments}

// lockWait bounds how long a statement waits for a row that another transaction holds, in seconds. It is short since a whole
// batch waits with the order or event that is blocked.
const lockWait = "2"

// Server is a MySQL-compatible server, or several that share the schemas, and the prefix of the schema names.
type Server struct {
	// DSN has the format of go-sql-driver/mysql, without a database: "user:password@tcp(host:3306)/". It is the server of all
	// schemas without one of their own, and empty if each has one.
	DSN string
	// Own has the servers of the schemas that have one of their own, by schema. Everything else holds for all servers.
	Own map[string]Own
	// Prefix precedes every schema name, so that tests and tenants can share a server. At most 32 of [a-z0-9_].
	Prefix string
	// Idle is how long the server keeps an idle connection; closing it rolls back its transaction. In whole seconds; zero
	// means the server's own setting.
	Idle time.Duration
	// TLS returns the TLS settings of a new connection, without the name of the server; nil leaves it to the DSN.
	TLS func() (*tls.Config, error)
	// Renew returns the DSN again for a new connection, which takes user and password from it; nil if they never change.
	Renew func() (string, error)
	// AllowPlaintext allows connections over a network without TLS, or with TLS that does not verify the server. On this
	// machine they are always allowed.
	AllowPlaintext bool

	variable string // which the DSN is from: see From
}

func validPrefix(s string) bool {
	return len(s) <= 32 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

// Config returns the driver's configuration of a connection to a schema, on the server that has it; an empty name selects no
// schema, on the server of those without one of their own. Times are UTC
// whatever the time zone of the server or of this machine, SQL is strict, and the affected count of an update counts changed
// rows.
func (s Server) Config(name string) (*mysql.Config, error) {
	s, err := s.Of(name)
	if err != nil {
		return nil, err
	}
	c, err := s.parse(s.DSN)
	if err != nil {
		return nil, err
	}
	if c.DBName != "" {
		return nil, fmt.Errorf("%s names a database behind its last slash: leave it out, each service has a schema of its own (to put a prefix before their names set MYSQL_SCHEMA_PREFIX)", s.From())
	}
	if !validPrefix(s.Prefix) {
		return nil, fmt.Errorf("MYSQL_SCHEMA_PREFIX %q: use at most 32 of a-z, 0-9 and _", s.Prefix)
	}
	if err := s.refuseUnsafe(c); err != nil {
		return nil, err
	}
	if err := s.secure(c); err != nil {
		return nil, err
	}
	if name != "" {
		c.DBName = s.Prefix + name
	}
	c.ParseTime, c.Loc = true, time.UTC
	// Columns have microseconds: MariaDB does not use an index to look up a time with nanoseconds.
	if err := c.Apply(mysql.TimeTruncate(time.Microsecond)); err != nil {
		return nil, fmt.Errorf("cut times to microseconds: %w", err)
	}
	c.ClientFoundRows = false
	// The driver also returns the errors that it would print: a database that is down must not fill the log.
	c.Logger = &mysql.NopLogger{}
	// One round trip per statement instead of three: no statement is prepared for a single use.
	c.InterpolateParams = true
	needed := map[string]string{
		"time_zone":                "'+00:00'",
		"sql_mode":                 "'STRICT_TRANS_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'",
		"innodb_lock_wait_timeout": lockWait,
	}
	if s.Idle > 0 {
		needed["wait_timeout"] = strconv.Itoa(int(s.Idle.Seconds()))
	}
	c.Params = sessionVariables(c, needed)
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	if c.ReadTimeout == 0 {
		c.ReadTimeout = 30 * time.Second
	}
	if c.WriteTimeout == 0 {
		c.WriteTimeout = 30 * time.Second
	}
	return c, nil
}

// Connector returns a connector to a schema: see transaction.NewConnector.
func (s Server) Connector(name string) (driver.Connector, error) {
	c, err := s.Config(name)
	if err != nil {
		return nil, err
	}
	c.MultiStatements = true
	inner, err := mysql.NewConnector(c)
	if err != nil {
		return nil, fmt.Errorf("configure the connection to %s: %w", c.Addr, err)
	}
	return transaction.NewConnector(inner), nil
}

// Open returns a pool of at most maxOpen connections to a schema. It does not connect; the first statement or a Ping does.
func (s Server) Open(name string, maxOpen int) (*sql.DB, error) {
	connector, err := s.Connector(name)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(maxOpen)
	db.SetMaxIdleConns(maxOpen)
	// Shorter than the limits of servers and load balancers, so that the pool renews a connection before it is cut.
	db.SetConnMaxLifetime(5 * time.Minute)
	idle := time.Minute
	if s.Idle > 0 {
		idle = min(idle, s.Idle/2)
	}
	db.SetConnMaxIdleTime(idle)
	return db, nil
}
