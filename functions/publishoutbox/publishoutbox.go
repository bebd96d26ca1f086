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
	"example.com/orders/functions/internal/messaging/capture"
	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/messaging/failpoint"
	"example.com/orders/functions/internal/messaging/inbox"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/messaging/kafkasink"
	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/messaging/poke"
	"example.com/orders/functions/internal/messaging/registry"
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
	// Patience is how old a row may be that a connector captures and has not published, before it is relayed after all;
	// OUTBOX_CDC_PATIENCE sets it.
	Patience time.Duration

	captured   *capture.Follower   // nil unless a connector captures the outbox
	connected  bool                // Start created Publisher, so Stop closes it
	avro       *registry.Publisher // in front of Publisher; nil in JSON
	sweepsOnly bool                // OUTBOX_DISPATCH is off
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

// Start reads OUTBOX_SCHEMA; KAFKA_BROKERS (separated by commas), KAFKA_TOPIC_PREFIX and the variables of kafka.Secure and
// kafka.Users, or instead of them KAFKA_SINK_URL (the KafkaSinks' URL with {topic} in it, and KAFKA_SINK_TOKEN_FILE likewise if
// they ask for tokens); EVENT_FORMAT, json or avro, which needs SCHEMA_REGISTRY_URL and what else registry.Open reads;
// OUTBOX_RETENTION and INBOX_RETENTION (Go durations); OUTBOX_PUBLISHER, relay or cdc, and with the latter OUTBOX_CDC_PATIENCE;
// OUTBOX_DISPATCH, on or off. It opens its own database connections.
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
	if err := f.inFormat(config); err != nil {
		return err
	}
	if err := f.behind(config); err != nil {
		return err
	}
	switch dispatch := config["OUTBOX_DISPATCH"]; dispatch {
	case "", "on":
	case "off":
		f.sweepsOnly = true
	default:
		return fmt.Errorf("OUTBOX_DISPATCH is %q: give on or off", dispatch)
	}
	f.Idle = relayWait
	if err := f.Base.Start(ctx, config); err != nil {
		return err
	}
	if f.captured != nil {
		f.captured.DB, f.captured.Now = f.DB, f.Now
	}
	return nil
}

// inFormat makes the publisher write in EVENT_FORMAT.
func (f *Function) inFormat(config map[string]string) error {
	switch format := config["EVENT_FORMAT"]; format {
	case "", "json":
		return nil
	case "avro":
		schemas, err := registry.Open(config)
		if err != nil {
			return fmt.Errorf("EVENT_FORMAT is avro: %w", err)
		}
		f.avro = registry.NewPublisher(f.Publisher, schemas, "/"+f.Schema)
		return nil
	default:
		return fmt.Errorf("EVENT_FORMAT is %q: give json or avro", format)
	}
}

// behind follows a connector if OUTBOX_PUBLISHER says that one captures the outbox.
func (f *Function) behind(config map[string]string) (err error) {
	switch publisher := config["OUTBOX_PUBLISHER"]; publisher {
	case "", "relay":
		return nil
	case "cdc":
	default:
		return fmt.Errorf("OUTBOX_PUBLISHER is %q: give relay or cdc", publisher)
	}
	if config["KAFKA_BROKERS"] == "" {
		return errors.New("OUTBOX_PUBLISHER is cdc: give KAFKA_BROKERS, since what the connector has published is read from the topics")
	}
	if f.avro != nil {
		return errors.New("OUTBOX_PUBLISHER is cdc and EVENT_FORMAT is avro: give json, in which the connector publishes")
	}
	if f.Patience == 0 {
		if f.Patience, err = base.Duration(config, "OUTBOX_CDC_PATIENCE", 2*time.Minute); err != nil {
			return err
		}
	}
	brokers, err := kafka.ParseBrokers(config["KAFKA_BROKERS"])
	if err != nil {
		return err
	}
	users, err := kafka.Users(config)
	if err != nil {
		return err
	}
	prefix := config["KAFKA_TOPIC_PREFIX"]
	f.captured = &capture.Follower{Brokers: brokers, Login: users.Login(prefix + f.Name), TopicPrefix: prefix, Patience: f.Patience, Log: f.Logger()}
	return nil
}

// Ready is that of the base; a relay that writes Avro is ready once it knows the ids of the schemas of its events.
func (f *Function) Ready(ctx context.Context) (bool, error) {
	ready, err := f.Base.Ready(ctx)
	if !ready || err != nil || f.avro == nil {
		return ready, err
	}
	if err := f.avro.Err(ctx); err != nil {
		return false, err
	}
	return true, nil
}

// publisher publishes to Kafka directly, or through KafkaSinks.
func (f *Function) publisher(config map[string]string) (outbox.Publisher, error) {
	brokers, sinks := config["KAFKA_BROKERS"], config["KAFKA_SINK_URL"]
	switch {
	case brokers != "" && sinks != "":
		return nil, errors.New("KAFKA_BROKERS and KAFKA_SINK_URL are both set: give only one of them")
	case sinks != "":
		p, err := kafkasink.New(sinks, config["KAFKA_SINK_TOKEN_FILE"])
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
		users, err := kafka.Users(config)
		if err != nil {
			return nil, err
		}
		prefix := config["KAFKA_TOPIC_PREFIX"]
		return kafka.NewProducer(addresses, prefix, f.Logger()).As(users.Login(prefix + f.Name)), nil
	default:
		return nil, errors.New("KAFKA_BROKERS is not set: give the brokers as host:port,host:port, or KAFKA_SINK_URL with {topic} in it")
	}
}

// Stop closes what Start opened.
func (f *Function) Stop(ctx context.Context) error {
	err := f.Base.Stop(ctx)
	if f.captured != nil {
		err = errors.Join(err, f.captured.Close())
	}
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
	if f.captured != nil {
		return "", f.follow(ctx, e)
	}
	shards := make([]uint8, len(wanted.Shards))
	for i, shard := range wanted.Shards {
		shards[i] = uint8(shard) // parse has checked the bounds
	}
	return "", f.sweep(ctx, shards...)
}

// follow marks what the connector has published, and relays what it has left out. A poke is for relays: nobody has to wake the
// connector.
func (f *Function) follow(ctx context.Context, e event.Event) error {
	if e.Type() == PokeType {
		return nil
	}
	passed, err := f.captured.Pass(ctx)
	if passed.Sent > 0 {
		f.Log.DebugContext(ctx, "events captured", "function", f.Name, "count", passed.Sent)
	}
	return errors.Join(err, f.sweep(ctx))
}

func (f *Function) sweep(ctx context.Context, shards ...uint8) error {
	f.Dispatcher.Settle(ctx)
	sent, err := f.relayer().Sweep(failpoint.In(ctx, f.Name), shards...)
	if sent > 0 {
		f.Log.DebugContext(ctx, "events sent", "function", f.Name, "count", sent)
	}
	return err
}

func (f *Function) relayer() outbox.Relay {
	publisher := f.Publisher
	if f.avro != nil {
		publisher = f.avro
	}
	return outbox.Relay{DB: f.DB, Publisher: publisher, Now: f.Now, Metrics: f.Metrics, Schema: f.Schema, DueOnly: f.captured != nil}
}

// Dispatch runs the Dispatcher, which the functions of the schema in this process share, until ctx ends. It does nothing without
// one, if OUTBOX_DISPATCH is off, and where a connector publishes. Call it after Start.
func (f *Function) Dispatch(ctx context.Context) {
	if f.Dispatcher == nil || f.sweepsOnly || f.captured != nil {
		return
	}
	f.Dispatcher.Run(failpoint.In(ctx, f.Name), f.relayer(), f.Logger())
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
