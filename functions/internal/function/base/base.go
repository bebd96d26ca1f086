// Package base is the common part of every function. Start reads the configuration and opens the database; a function
// registers a reaction for each event type. Handle answers an event with a status that a KafkaSource understands, and runs
// the reactions to concurrent events as a batch in one transaction.
package base

import (
	"cmp"
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

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/saga"
	"example.com/orders/functions/internal/messaging/failpoint"
	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/messaging/registry"
	"example.com/orders/functions/internal/observe/health"
	"example.com/orders/functions/internal/observe/metrics"
	"example.com/orders/functions/internal/web/identity"
	"example.com/orders/functions/internal/web/limit"
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
	// Dispatcher publishes the events of the schema that this process commits; without it, and for events that it does not take,
	// the relay is woken.
	Dispatcher *outbox.Dispatcher
	// Recent remembers the orders that this process has accepted last; it may be nil.
	Recent *saga.Recent
	Log    *slog.Logger
	// Metrics counts the outcomes of events; it may be nil.
	Metrics *metrics.Metrics
	// Identity reads who makes a request; the variables of identity.New set it. Functions that people and programs call ask it,
	// and those for sources do not.
	Identity *identity.Verifier
	// Avro reads the data of events in Avro; SCHEMA_REGISTRY_URL sets it. It is nil without a registry, and those events are
	// poison then.
	Avro *registry.Reader

	reactions map[string]reaction // by event type
	patterns  []string            // of Route
	limits    *limit.Limiter      // see LimitRate

	started  atomic.Bool
	opened   bool   // Start opened DB, so Stop closes it
	endPokes func() // ends the pokes that Start set up
}

// ErrNotStarted answers requests that arrive before Start has returned: the runtime serves meanwhile.
var ErrNotStarted = errors.New("the function has not started yet")

// Start opens the connection pool from MYSQL_DSN, MYSQL_SCHEMA_PREFIX and MYSQL_MAX_CONNS (default 8), and pokes the relay
// at OUTBOX_POKE_URL, in which {schema} stands for the function's schema, with OUTBOX_POKE_TOKEN or else SINK_TOKEN. With
// SCHEMA_REGISTRY_URL it also reads events in Avro, see registry.Open, and RATE_LIMIT, RATE_LIMIT_WRITES and TRUSTED_PROXIES are
// the limits of LimitRate, see limit.New. It fails if the configuration is invalid, but not if the database or the registry is
// down: Ready reports that.
func (b *Base) Start(_ context.Context, config map[string]string) error {
	if b.Avro == nil {
		var err error
		if b.Avro, err = registry.OpenReader(config); err != nil {
			return err
		}
	}
	if b.limits == nil {
		var err error
		if b.limits, err = limit.New(config); err != nil {
			return err
		}
	}
	if b.Identity == nil {
		var err error
		if b.Identity, err = identity.New(config); err != nil {
			return err
		}
	}
	if b.Now == nil {
		b.Now = func() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
	}
	if b.NewID == nil {
		b.NewID = func() string { return newID(b.Now()) }
	}
	if b.Log == nil {
		b.Log = slog.Default()
	}
	if b.Poke == nil && config["OUTBOX_POKE_URL"] != "" {
		var err error
		if b.Poke, b.endPokes, err = b.remotePoke(config); err != nil {
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

// Ready returns whether the function has started, its database takes writes, and no event waits for the schema registry; it
// answers within a few seconds, and the error says why not.
func (b *Base) Ready(ctx context.Context) (bool, error) {
	if !b.started.Load() {
		return false, nil
	}
	if err := b.Database.Err(ctx); err != nil {
		return false, fmt.Errorf("schema %s: %w", b.Schema, err)
	}
	if err := b.Avro.Err(ctx); err != nil {
		return false, fmt.Errorf("events in Avro: %w", err)
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

// Transact runs work in one transaction with the events that it returns, and wakes the relay: see outbox.Store.
func (b *Base) Transact(ctx context.Context, work outbox.Work) error {
	return b.transact(ctx, outbox.Store.Transact, work)
}

// TransactShared is Transact for the work of a batch: see outbox.Store.
func (b *Base) TransactShared(ctx context.Context, work outbox.Work) error {
	return b.transact(ctx, outbox.Store.TransactShared, work)
}

func (b *Base) transact(ctx context.Context, run func(outbox.Store, context.Context, outbox.Work) ([]uint8, error), work outbox.Work) error {
	if err := b.Started(); err != nil {
		return err
	}
	shards, err := run(b.store(), failpoint.In(ctx, b.Name), work)
	if err != nil {
		return err
	}
	b.wake(shards)
	return nil
}

func (b *Base) store() outbox.Store {
	return outbox.Store{DB: b.DB, Now: b.Now, Dispatcher: b.Dispatcher}
}

func (b *Base) wake(shards []uint8) {
	if len(shards) > 0 {
		b.Poke(b.Schema, shards...)
	}
}

// DefaultCurrency is the currency if CURRENCY is not set.
const DefaultCurrency = "EUR"

// Currency reads the ISO 4217 code of the amounts from CURRENCY.
func Currency(config map[string]string) (string, error) {
	code := cmp.Or(config["CURRENCY"], DefaultCurrency)
	if !events.ValidCurrency(code) {
		return "", fmt.Errorf("CURRENCY is %q: give an ISO 4217 code like EUR", code)
	}
	return code, nil
}

// Limit reads a number from 1 to highest from the configuration, 0 without a limit; what says what it is the number of.
func Limit(config map[string]string, name, what string, highest int) (int, error) {
	text := config[name]
	if text == "" {
		return 0, nil
	}
	most, err := strconv.Atoi(text)
	if err != nil || most < 1 || most > highest {
		return 0, fmt.Errorf("%s is %q: give %s, from 1 to %d", name, text, what, highest)
	}
	return most, nil
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
