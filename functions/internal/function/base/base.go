// Package base is the common part of every function. Start reads the configuration and opens the database; a function
// registers a reaction for each event type. Handle answers an event with a status that a KafkaSource understands, and runs
// the reactions to concurrent events as a batch in one transaction.
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

// Base is embedded by a function. Start keeps the fields that are set already: a test sets the clock, and the harness shares
// one pool among the functions of a schema.
type Base struct {
	// Name is the deployed name of the function: its consumer in the inbox, "function" in the log.
	Name string
	// Schema is the schema of the function's service.
	Schema string

	// Idle is how long the server keeps an idle connection; zero means the server's default.
	Idle time.Duration
	DB   *sql.DB
	// Database checks whether DB takes writes; a host shares one check among functions that share a pool.
	Database *health.Check

	Now   func() time.Time
	NewID func() string
	// Poke wakes the relay after a commit that stored events; OUTBOX_POKE_URL sets it. Without it the relay finds them by
	// its sweep.
	Poke outbox.Poke
	Log  *slog.Logger
	// Metrics counts the outcomes of events; it may be nil.
	Metrics *metrics.Metrics

	reactions map[string]reaction // by event type

	started  atomic.Bool
	opened   bool   // Start opened DB, so Stop closes it
	endPokes func() // ends the pokes that Start set up
}

// ErrNotStarted answers requests that arrive before Start has returned: the runtime serves meanwhile.
var ErrNotStarted = errors.New("the function has not started yet")

// Start opens the connection pool from MYSQL_DSN, MYSQL_SCHEMA_PREFIX and MYSQL_MAX_CONNS (default 8), and pokes the relay
// at OUTBOX_POKE_URL, in which {schema} stands for the function's schema. It fails if the configuration is invalid, but not
// if the database is down: Ready reports that.
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

// newID returns a UUIDv7 with the time now. The uuid library never goes back in time: after the clock was set back by an
// hour, its ids would belong to the future for an hour, and expire-orders would find those orders too late.
func newID(now time.Time) string {
	id := uuid.Must(uuid.NewV7())
	if made := time.Unix(id.Time().UnixTime()); made.Sub(now) > time.Second {
		var milliseconds [8]byte
		binary.BigEndian.PutUint64(milliseconds[:], uint64(now.UnixMilli()))
		copy(id[:6], milliseconds[2:])
	}
	return id.String()
}

// Server reads the server from MYSQL_DSN and MYSQL_SCHEMA_PREFIX, and from MYSQL_MAX_CONNS the maximum number of connections
// per schema.
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

// Ready returns whether the function has started and its database takes writes; it answers within two seconds, and the error
// says why not.
func (b *Base) Ready(ctx context.Context) (bool, error) {
	if !b.started.Load() {
		return false, nil
	}
	if err := b.Database.Err(ctx); err != nil {
		return false, fmt.Errorf("schema %s: %w", b.Schema, err)
	}
	return true, nil
}

// Stop closes what Start opened. It may be called twice, and also if Start failed or never ran.
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

// Shared returns the base itself, whose shared parts the host sets.
func (b *Base) Shared() *Base { return b }

// Logger returns the function's log.
func (b *Base) Logger() *slog.Logger {
	if b.Log == nil {
		return slog.Default()
	}
	return b.Log
}

// Started returns nil once Start has returned, else ErrNotStarted.
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

// TransactShared is Transact for the work of a batch: see outbox.TransactShared.
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

// Duration reads a positive Go duration like 15m from the configuration; fallback is the default.
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
