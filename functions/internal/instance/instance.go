// Package instance is what every function with a database is built on: func calls such functions instanced. The
// configuration goes in through Start; a pool of connections, a clock, ids and one log line an event come out.
package instance

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

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"

	"example.com/orders/events"
	"example.com/orders/functions/internal/delivery"
	"example.com/orders/functions/internal/failpoint"
	"example.com/orders/functions/internal/health"
	"example.com/orders/functions/internal/inbox"
	"example.com/orders/functions/internal/metrics"
	"example.com/orders/functions/internal/outbox"
	"example.com/orders/functions/internal/tracing"
	"example.com/orders/sql/schema"
)

// Instance is embedded by a function. Fields that are set before Start are kept: a test sets the clock, and the
// harness shares one pool among the functions of a schema.
type Instance struct {
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

	started  atomic.Bool
	opened   bool   // DB was opened here and is closed here
	endPokes func() // when Poke was made here
}

// TickType is the type of the events of a PingSource.
const TickType = "dev.knative.sources.ping"

// ErrNotStarted answers what arrives before Start is done: the runtime serves while it starts.
var ErrNotStarted = errors.New("the function has not started yet")

// Start opens the connection pool by MYSQL_DSN, MYSQL_SCHEMA_PREFIX and MYSQL_MAX_CONNS (default 8), and pokes the relay
// at OUTBOX_POKE_URL, in which {schema} stands for the function's schema. It fails for configuration that cannot be used,
// and not because the database is away: Ready tells that.
func (i *Instance) Start(_ context.Context, config map[string]string) error {
	if i.Now == nil {
		i.Now = func() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
	}
	if i.NewID == nil {
		i.NewID = func() string { return newID(i.Now()) }
	}
	if i.Log == nil {
		i.Log = slog.Default()
	}
	if template := config["OUTBOX_POKE_URL"]; i.Poke == nil && template != "" {
		var err error
		if i.Poke, i.endPokes, err = i.remotePoke(template); err != nil {
			return err
		}
	}
	if i.Poke == nil {
		i.Poke = func(string, ...uint8) {}
	}
	if i.DB == nil {
		server, maxOpen, err := Server(config)
		if err != nil {
			return err
		}
		server.Idle = i.Idle
		if i.DB, err = server.Open(i.Schema, maxOpen); err != nil {
			return err
		}
		i.opened = true
	}
	if i.Database == nil {
		i.Database = &health.Check{Ask: func(ctx context.Context) error { return schema.Ping(ctx, i.DB) }}
	}
	i.started.Store(true)
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
func (i *Instance) Ready(ctx context.Context) (bool, error) {
	if !i.started.Load() {
		return false, nil
	}
	if err := i.Database.Err(ctx); err != nil {
		return false, fmt.Errorf("schema %s: %w", i.Schema, err)
	}
	return true, nil
}

// Stop closes what Start opened. It may be called when Start failed or never ran, and twice.
func (i *Instance) Stop(context.Context) error {
	i.started.Store(false)
	if i.endPokes != nil {
		i.endPokes()
		i.endPokes = nil
	}
	if !i.opened {
		return nil
	}
	i.opened = false
	return i.DB.Close()
}

// Base returns the instance itself, by which a host sets what functions share.
func (i *Instance) Base() *Instance { return i }

// Logger is the instance's log.
func (i *Instance) Logger() *slog.Logger {
	if i.Log == nil {
		return slog.Default()
	}
	return i.Log
}

// Started is nil once Start is done, else ErrNotStarted.
func (i *Instance) Started() error {
	if !i.started.Load() {
		return ErrNotStarted
	}
	return nil
}

// Transact runs work in one transaction with the events that it returns, and wakes the relay: see outbox.Transact.
func (i *Instance) Transact(ctx context.Context, work outbox.Work) error {
	if err := i.Started(); err != nil {
		return err
	}
	shards, err := outbox.Transact(failpoint.In(ctx, i.Name), i.DB, i.Now, work)
	if err != nil {
		return err
	}
	i.wake(shards)
	return nil
}

// TransactGroup is Transact for work that is done for many at once: see outbox.TransactGroup.
func (i *Instance) TransactGroup(ctx context.Context, work outbox.Work) error {
	if err := i.Started(); err != nil {
		return err
	}
	shards, err := outbox.TransactGroup(failpoint.In(ctx, i.Name), i.DB, i.Now, work)
	if err != nil {
		return err
	}
	i.wake(shards)
	return nil
}

func (i *Instance) wake(shards []uint8) {
	if len(shards) > 0 {
		i.Poke(i.Schema, shards...)
	}
}

// Reaction is what a function does about a fact of type T, in the transaction that records it as handled. The events
// that it returns are stored in the outbox.
type Reaction[T events.Data] func(ctx context.Context, tx *sql.Tx, e event.Event, data T) ([]event.Event, error)

// React is the Handle of a function that reacts to facts of type T: it decodes e strictly, runs react once for it in a
// transaction, wakes the relay, logs the outcome and answers as a KafkaSource understands it. What cannot be decoded
// is poison.
func React[T events.Data](ctx context.Context, i *Instance, e event.Event, react Reaction[T]) error {
	return i.Observe(ctx, e, func() (outcome string, err error) {
		data, err := events.Decode[T](e)
		if err != nil {
			return "", delivery.Poison(err)
		}
		duplicate, shards, err := inbox.Once(ctx, i.DB, i.Name, e, i.Now, func(ctx context.Context, tx *sql.Tx) ([]event.Event, error) {
			emitted, err := react(ctx, tx, e, data)
			outcome = emits(emitted)
			return emitted, err
		})
		if err != nil {
			return "", err
		}
		if duplicate {
			return repeated, nil
		}
		i.wake(shards)
		return outcome, nil
	})
}

// Refuse answers an event of a type that the function does not know: poison.
func (i *Instance) Refuse(ctx context.Context, e event.Event) error {
	return i.Observe(ctx, e, func() (string, error) {
		return "", delivery.Poison(fmt.Errorf("%s does not handle events of type %q: check which topic its KafkaSource reads", i.Name, e.Type()))
	})
}

// emits names what an event led to, for the log.
func emits(emitted []event.Event) string {
	if len(emitted) == 0 {
		return "nothing to do"
	}
	return emitted[0].Type()
}

// Observe runs the handling of one event, logs its outcome once, and turns its error into the function's answer. An
// empty outcome is not worth a line.
func (i *Instance) Observe(ctx context.Context, e event.Event, handle func() (outcome string, err error)) error {
	if err := i.Started(); err != nil {
		return delivery.Result(err)
	}
	begin := time.Now()
	outcome, err := handle()
	return i.Report(ctx, e, begin, outcome, err)
}

// Report logs what became of an event whose handling began at a time, and returns the function's answer. A value that the
// database refuses for what it is makes the event poison: it will be refused at every delivery.
func (i *Instance) Report(ctx context.Context, e event.Event, begin time.Time, outcome string, err error) error {
	if schema.IsBadValue(err) {
		err = delivery.Poison(err)
	}
	if err == nil && outcome == "" {
		return nil
	}
	ctx = tracing.Of(ctx, e)
	i.Metrics.CountEvent(i.Name, counted(outcome, err), time.Since(begin))
	attributes := []any{
		"function", i.Name, "event_id", e.ID(), "event_type", e.Type(),
		"correlation_id", events.CauseOf(e).CorrelationID, "duration", time.Since(begin).Round(time.Microsecond),
	}
	if e.Subject() != "" {
		attributes = append(attributes, "order_id", e.Subject())
	}
	switch {
	case err == nil:
		i.Log.InfoContext(ctx, "event handled", append(attributes, "outcome", outcome)...)
	case delivery.IsPoison(err):
		i.Log.ErrorContext(ctx, "event is poison", append(attributes, "error", err)...)
	default:
		i.Log.WarnContext(ctx, "event failed, to be delivered again", append(attributes, "error", err)...)
	}
	return delivery.Result(err)
}

// repeated is the outcome of an event that was handled before.
const repeated = "duplicate"

// counted is an outcome as the metrics count it.
func counted(outcome string, err error) metrics.Outcome {
	switch {
	case delivery.IsPoison(err):
		return metrics.Poisoned
	case err != nil:
		return metrics.Retried
	case outcome == repeated:
		return metrics.Duplicate
	default:
		return metrics.Handled
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
