// Package publishoutbox relays the outbox of one schema to Kafka and purges old rows. Consumes pokes from the functions of
// the schema and the ticks of PingSources; emits the stored events, each to the topic of its type.
package publishoutbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/messaging/failpoint"
	"example.com/orders/functions/internal/messaging/inbox"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/messaging/kafkasink"
	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/messaging/poke"
	"example.com/orders/sql/schema"
)

// PokeType is the type of the event that wakes the relay. Its data may name the shards with new rows.
const PokeType = poke.Type

// Function relays one schema's outbox. It is deployed once per schema, as publish-outbox-<schema>.
type Function struct {
	base.Base
	// Publisher publishes the events; KAFKA_BROKERS or KAFKA_SINK_URL sets it.
	Publisher outbox.Publisher
	// SentRetention is how long a relayed row is kept, longer than its topic keeps the event; OUTBOX_RETENTION sets it.
	SentRetention time.Duration
	// HandledRetention is how long the inbox remembers an event: longer than the topic or the dead letters can deliver it
	// again; INBOX_RETENTION sets it.
	HandledRetention time.Duration

	connected bool // Start created Publisher, so Stop closes it
}

// New returns the function as it is deployed.
func New() *Function {
	f := &Function{}
	f.On(PokeType, f.relay)
	f.On(base.TickType, f.relay)
	return f
}

// relayWait is how long the server keeps an idle connection of a relay, which may hold a shard: longer than the relay waits
// for the broker, and short enough that a frozen relay frees its shard soon.
const relayWait = 20 * time.Second

// Start reads OUTBOX_SCHEMA; KAFKA_BROKERS (separated by commas), KAFKA_TOPIC_PREFIX and the variables of kafka.Secure, or
// instead of them KAFKA_SINK_URL (the KafkaSinks' URL with {topic} in it); OUTBOX_RETENTION and INBOX_RETENTION (Go
// durations). It opens its own database connections.
func (f *Function) Start(ctx context.Context, config map[string]string) (err error) {
	if f.Schema == "" {
		f.Schema = config["OUTBOX_SCHEMA"]
	}
	if !slices.Contains(schema.WithOutbox, f.Schema) {
		return fmt.Errorf("OUTBOX_SCHEMA is %q: give %s, the schemas with an outbox", f.Schema, strings.Join(schema.WithOutbox, " or "))
	}
	f.Name = "publish-outbox-" + f.Schema
	if f.SentRetention == 0 {
		if f.SentRetention, err = base.Duration(config, "OUTBOX_RETENTION", 8*24*time.Hour); err != nil {
			return err
		}
	}
	if f.HandledRetention == 0 {
		if f.HandledRetention, err = base.Duration(config, "INBOX_RETENTION", 40*24*time.Hour); err != nil {
			return err
		}
	}
	if f.Publisher == nil {
		if f.Publisher, err = f.publisher(config); err != nil {
			return err
		}
		f.connected = true
	}
	f.Idle = relayWait
	return f.Base.Start(ctx, config)
}

// publisher publishes to Kafka directly, or through KafkaSinks.
func (f *Function) publisher(config map[string]string) (outbox.Publisher, error) {
	brokers, sinks := config["KAFKA_BROKERS"], config["KAFKA_SINK_URL"]
	switch {
	case brokers != "" && sinks != "":
		return nil, errors.New("KAFKA_BROKERS and KAFKA_SINK_URL are both set: give only one of them")
	case sinks != "":
		p, err := kafkasink.New(sinks)
		if err != nil {
			return nil, fmt.Errorf("KAFKA_SINK_URL: %w", err)
		}
		return p, nil
	case brokers != "":
		if err := kafka.Secure(config); err != nil {
			return nil, err
		}
		addresses, err := kafka.ParseBrokers(brokers)
		if err != nil {
			return nil, err
		}
		return kafka.NewProducer(addresses, config["KAFKA_TOPIC_PREFIX"], f.Logger()), nil
	default:
		return nil, errors.New("KAFKA_BROKERS is not set: give the brokers as host:port,host:port, or KAFKA_SINK_URL with {topic} in it")
	}
}

// Stop closes what Start opened.
func (f *Function) Stop(ctx context.Context) error {
	err := f.Base.Stop(ctx)
	if f.connected {
		f.connected = false
		err = errors.Join(err, f.Publisher.Close())
	}
	return err
}

// request is the data of a poke or a tick.
type request struct {
	// Shards are the shards with new rows; empty means all.
	Shards []int `json:"shards"`
	// Purge deletes rows past their retention instead of relaying.
	Purge bool `json:"purge"`
}

// relay publishes the due rows until none is left, or purges. If the broker or the database is down, the caller retries: the
// rows stay as they are.
func (f *Function) relay(ctx context.Context, e event.Event) (outcome string, err error) {
	wanted, err := parse(e)
	if err != nil {
		return "", delivery.Poison(err)
	}
	if wanted.Purge {
		return f.purge(ctx)
	}
	shards := make([]uint8, len(wanted.Shards))
	for i, shard := range wanted.Shards {
		shards[i] = uint8(shard) // parse has checked the bounds
	}
	relay := outbox.Relay{DB: f.DB, Publisher: f.Publisher, Now: f.Now, Metrics: f.Metrics, Schema: f.Schema}
	sent, err := relay.Sweep(failpoint.In(ctx, f.Name), shards...)
	if sent > 0 {
		f.Log.DebugContext(ctx, "events sent", "function", f.Name, "count", sent)
	}
	return "", err
}

func parse(e event.Event) (request, error) {
	var r request
	if len(e.Data()) == 0 {
		return r, nil
	}
	if err := json.Unmarshal(e.Data(), &r); err != nil {
		return r, fmt.Errorf("data of %s: %w", e.Type(), err)
	}
	for _, shard := range r.Shards {
		if shard < 0 || shard >= outbox.Shards {
			return r, fmt.Errorf("shard %d is not one of 0 to %d", shard, outbox.Shards-1)
		}
	}
	return r, nil
}

func (f *Function) purge(ctx context.Context) (string, error) {
	now := f.Now()
	sent, err := outbox.Purge(ctx, f.DB, now.Add(-f.SentRetention))
	if err != nil {
		return "", err
	}
	handled, err := inbox.Purge(ctx, f.DB, now.Add(-f.HandledRetention))
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("purged %d sent and %d handled events", sent, handled), nil
}
