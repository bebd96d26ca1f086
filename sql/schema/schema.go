// Package schema names the MySQL schemas of the services and connects to them. What goes in is the server's DSN;
// what comes out is a pool whose connections all have the session settings that the queries rely on.
package schema

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/go-sql-driver/mysql"

	"example.com/orders/sql/transaction"
)

// The schemas, one a service, and one in which what operators did is recorded. No service reads another's.
const (
	Orders        = "orders"
	Inventory     = "inventory"
	Notifications = "notifications"
	Operations    = "operations"
)

// All lists the schemas.
var All = []string{Orders, Inventory, Notifications, Operations}

// WithOutbox lists the schemas that have the tables of sql/messaging: an outbox, which takes a relay, and an inbox.
var WithOutbox = []string{Orders, Inventory}

// lockWait bounds how long a statement waits for a row that another transaction holds, in seconds. It is short since a
// group of orders or events waits with the one that is held up.
const lockWait = "2"

// Server is a MySQL-compatible server and the prefix of the schemas' names on it.
type Server struct {
	// DSN is in the form of go-sql-driver/mysql, and names no database: "user:password@tcp(host:3306)/".
	DSN string
	// Prefix stands before every schema's name: tests and tenants share a server by it. At most 32 of [a-z0-9_].
	Prefix string
	// Idle is how long the server lets a connection be silent before it closes it and with it ends its transaction;
	// in whole seconds, zero for the server's own setting.
	Idle time.Duration
}

var validPrefix = regexp.MustCompile(`^[a-z0-9_]{0,32}$`)

// Config returns the driver's configuration of a connection to a schema; an empty name connects to no schema.
// Times are UTC whatever the zone of the server or of this machine, statements are strict, and the affected count
// of an update counts the rows that changed.
func (s Server) Config(name string) (*mysql.Config, error) {
	c, err := mysql.ParseDSN(s.DSN)
	if err != nil {
		return nil, fmt.Errorf("parse MYSQL_DSN (like user:password@tcp(127.0.0.1:3306)/): %w", err)
	}
	if c.DBName != "" {
		return nil, fmt.Errorf("MYSQL_DSN names the database %q: leave it out, each service has a schema of its own (to put a prefix before their names set MYSQL_SCHEMA_PREFIX)", c.DBName)
	}
	if !validPrefix.MatchString(s.Prefix) {
		return nil, fmt.Errorf("MYSQL_SCHEMA_PREFIX %q: use at most 32 of a-z, 0-9 and _", s.Prefix)
	}
	if err := refuseUnsafe(s.DSN, c); err != nil {
		return nil, err
	}
	if name != "" {
		c.DBName = s.Prefix + name
	}
	c.ParseTime, c.Loc = true, time.UTC
	// As the columns have them: by a time with nanoseconds MariaDB looks nothing up in an index.
	if err := c.Apply(mysql.TimeTruncate(time.Microsecond)); err != nil {
		return nil, fmt.Errorf("cut times to microseconds: %w", err)
	}
	c.ClientFoundRows = false
	// What the driver would write to standard error it returns too: a database that is away must not fill the log.
	c.Logger = &mysql.NopLogger{}
	// One round trip a statement instead of three: nothing is prepared for a single use.
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

// Connector returns what opens connections to a schema: see transaction.NewConnector.
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

// Open returns a pool of at most maxOpen connections to a schema. It does not connect: the first statement does, or
// Ping.
func (s Server) Open(name string, maxOpen int) (*sql.DB, error) {
	connector, err := s.Connector(name)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(maxOpen)
	db.SetMaxIdleConns(maxOpen)
	// Shorter than what servers and load balancers allow, so that a connection is renewed before it is cut.
	db.SetConnMaxLifetime(5 * time.Minute)
	idle := time.Minute
	if s.Idle > 0 {
		idle = min(idle, s.Idle/2)
	}
	db.SetConnMaxIdleTime(idle)
	return db, nil
}
