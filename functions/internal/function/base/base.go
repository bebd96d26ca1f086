// Package base is what every function is built on. The configuration goes in through Start, and a reaction for each type of
// event that the function takes; Handle comes out, which answers an event as a KafkaSource understands it, and runs the
// reactions to events that come at the same time in one transaction.
package base

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"example.com/orders/functions/internal/messaging/failpoint"
	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/observe/health"
	"example.com/orders/functions/internal/observe/metrics"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/transaction"
)

// Base is embedded by a function. Fields that are set before Start are kept: a test sets the clock, and the
// harness shares one pool among the functions of a schema.
type Base struct {
	// Name is the name under which the function is deployed: its consumer in the inbox, "function" in the log.
	Name string
	// Schema is the schema of the function's service.
	Schema string

	// Idle is how long the server lets a connection be silent; zero leaves it to the server.
	Idle time.Duration
	DB   *sql.DB
	// Database asks whether DB would take a write; a host has it asked once for all functions that share a pool.
	Database *health.Check

	Now   func() time.Time
	NewID func() string
	// Poke wakes the relay after a commit that stored events; OUTBOX_POKE_URL sets it. Without it the relay finds them
	// by its sweep.
	Poke outbox.Poke
	Log  *slog.Logger
	// Metrics counts what becomes of events; nil when nobody looks.
	Metrics *metrics.Metrics

	reactions map[string]reaction // by the type of events

	started  atomic.Bool
	opened   bool   // DB was opened here and is closed here
	endPokes func() // when Poke was made here
}

// ErrNotStarted answers what arrives before Start is done: the runtime serves while it starts.
var ErrNotStarted = errors.New("the function has not started yet")

// Start opens the connection pool by MYSQL_DSN, MYSQL_SCHEMA_PREFIX and MYSQL_MAX_CONNS (default 8), and pokes the relay
// at OUTBOX_POKE_URL, in which {schema} stands for the function's schema. It fails for configuration that cannot be used,
// and not because the database is away: Ready tells that.
func (b *Base) Start(_ context.Context, config map[string]string) error {
	if b.Now == nil {
		b.Now = func() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
	}
	if b.NewID == nil {
		b.NewID = func() string { return newID(b.Now()) }
	}
	if b.Log == nil {
		b.Log = slog.Default()
	}
	if template := config["OUTBOX_POKE_URL"]; b.Poke == nil && template != "" {
		var err error
		if b.Poke, b.endPokes, err = b.remotePoke(template); err != nil {
			return err
		}
	}
	if b.Poke == nil {
		b.Poke = func(string, ...uint8) {}
	}
	if b.DB == nil {
		server, maxOpen, err := Server(config)
		if err != nil {
			return err
		}
		server.Idle = b.Idle
		if b.DB, err = server.Open(b.Schema, maxOpen); err != nil {
			return err
		}
		b.opened = true
	}
	if b.Database == nil {
		b.Database = &health.Check{Ask: func(ctx context.Context) error { return transaction.Ping(ctx, b.DB) }}
	}
	b.started.Store(true)
	return nil
}

// newID returns a UUID of version 7 with the time now. The library never goes back in time: for an hour after the clock was
// set back by one, its ids would be those of orders that are not late yet.
func newID(now time.Time) string {
	id := uuid.Must(uuid.NewV7())
	if made := time.Unix(id.Time().UnixTime()); made.Sub(now) > time.Second {
		var milliseconds [8]byte
		binary.BigEndian.PutUint64(milliseconds[:], uint64(now.UnixMilli()))
		copy(id[:6], milliseconds[2:])
	}
	return id.String()
}

// Server reads MYSQL_DSN, MYSQL_SCHEMA_PREFIX and MYSQL_MAX_CONNS: the server, and how many connections to open to a
// schema at most.
func Server(config map[string]string) (server schema.Server, maxOpen int, err error) {
	server = schema.Server{DSN: config["MYSQL_DSN"], Prefix: config["MYSQL_SCHEMA_PREFIX"]}
	if server.DSN == "" {
		return server, 0, errors.New("MYSQL_DSN is not set: give the server as user:password@tcp(host:3306)/")
	}
	maxOpen = 8
	if text := config["MYSQL_MAX_CONNS"]; text != "" {
		if maxOpen, err = strconv.Atoi(text); err != nil || maxOpen < 1 || maxOpen > 1000 {
			return server, 0, fmt.Errorf("MYSQL_MAX_CONNS is %q: give a number from 1 to 1000", text)
		}
	}
	return server, maxOpen, nil
}

// Ready tells whether the function has started and could write to its database, within two seconds; the error says why not.
func (b *Base) Ready(ctx context.Context) (bool, error) {
	if !b.started.Load() {
		return false, nil
	}
	if err := b.Database.Err(ctx); err != nil {
		return false, fmt.Errorf("schema %s: %w", b.Schema, err)
	}
	return true, nil
}

// Stop closes what Start opened. It may be called when Start failed or never ran, and twice.
func (b *Base) Stop(context.Context) error {
	b.started.Store(false)
	if b.endPokes != nil {
		b.endPokes()
		b.endPokes = nil
	}
	if !b.opened {
		return nil
	}
	b.opened = false
	return b.DB.Close()
}

// Shared returns the base itself, by which a host sets what functions share.
func (b *Base) Shared() *Base { return b }

// Logger is the function's log.
func (b *Base) Logger() *slog.Logger {
	if b.Log == nil {
		return slog.Default()
	}
	return b.Log
}

// Started is nil once Start is done, else ErrNotStarted.
func (b *Base) Started() error {
	if !b.started.Load() {
		return ErrNotStarted
	}
	return nil
}

// Transact runs work in one transaction with the events that it returns, and wakes the relay: see outbox.Transact.
func (b *Base) Transact(ctx context.Context, work outbox.Work) error {
	return b.transact(ctx, outbox.Transact, work)
}

// TransactShared is Transact for work that is done for several callers at once: see outbox.TransactShared.
func (b *Base) TransactShared(ctx context.Context, work outbox.Work) error {
	return b.transact(ctx, outbox.TransactShared, work)
}

func (b *Base) transact(ctx context.Context, run func(context.Context, *sql.DB, func() time.Time, outbox.Work) ([]uint8, error), work outbox.Work) error {
	if err := b.Started(); err != nil {
		return err
	}
	shards, err := run(failpoint.In(ctx, b.Name), b.DB, b.Now, work)
	if err != nil {
		return err
	}
	b.wake(shards)
	return nil
}

func (b *Base) wake(shards []uint8) {
	if len(shards) > 0 {
		b.Poke(b.Schema, shards...)
	}
}

// Duration reads a Go duration like 15m from the configuration; fallback when it is not set. It must be positive.
func Duration(config map[string]string, name string, fallback time.Duration) (time.Duration, error) {
	text := config[name]
	if text == "" {
		return fallback, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%s is %q: give a duration like 15m or 192h", name, text)
	}
	return d, nil
}
