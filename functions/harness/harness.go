package main

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/rs/zerolog"

	"example.com/orders/functions"
	"example.com/orders/functions/createorder"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/functions/internal/function/host"
	"example.com/orders/functions/internal/function/saga"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/messaging/registry"
	"example.com/orders/functions/internal/observe/exposition"
	"example.com/orders/functions/internal/observe/health"
	"example.com/orders/functions/internal/operate/console"
	"example.com/orders/functions/internal/operate/gauge"
	"example.com/orders/functions/internal/web/identity"
	"example.com/orders/functions/internal/web/session"
	"example.com/orders/functions/publishoutbox"
	"example.com/orders/knative"
	"example.com/orders/sql/operations"
	"example.com/orders/sql/privilege"
	"example.com/orders/sql/schema"
)

// harness runs all functions in one process, with the wiring of knative/ between them.
type harness struct {
	log     *slog.Logger
	wiring  *knative.Wiring
	servers *servers
	metrics *exposition.Registry
	hosts   hosts
	origin  string // the URL at which this process reaches itself

	processes *processes // nil when the functions run in this one

	own   map[string]string // the variables of the token with which this process sends events to its own address
	token *identity.Token   // the same

	pools       *pools
	gateway     gateway.Gateway                                     // which the functions share that ask one; nil before the first
	functions   map[string]functions.Function                       // by deployed name
	handlers    map[string]http.Handler                             // the same, as HTTP handlers
	deliver     map[string]func(context.Context, event.Event) error // the functions that take CloudEvents
	dispatchers map[string]*outbox.Dispatcher                       // by schema; nil where the functions run in other processes
	recent      *saga.Recent                                        // the orders that were accepted last
	pokers      map[string]*poker                                   // by schema
	sources     []*kafka.Source
	deadLetters *kafka.Producer
	auditing    *auditing // nil without audits
	gauges      *gauge.Gauges
	console     *console.Console
	verifier    *identity.Verifier // reads the tokens of people who log in
	sessions    *session.Sessions  // nil without a log-in
	kafka       *health.Check
	stocked     atomic.Bool // whether the sample stock, if wanted, exists
}

// stopWithin bounds the shutdown of everything but events in flight.
const stopWithin = 15 * time.Second

// start creates and starts every function of the wiring.
func (h *harness) start(ctx context.Context, o options) error {
	zerolog.SetGlobalLevel(zerolog.WarnLevel) // func's runtime logs that each function has a Start
	h.functions, h.handlers = map[string]functions.Function{}, map[string]http.Handler{}
	h.deliver, h.pokers = map[string]func(context.Context, event.Event) error{}, map[string]*poker{}
	h.dispatchers, h.recent = map[string]*outbox.Dispatcher{}, saga.NewRecent()
	var err error
	h.own = ownToken(h.servers.config)
	if h.token, err = identity.NewToken(h.own, sinkToken); err != nil {
		return err
	}
	if h.pools, err = newPools(h.servers, privilege.Console); err != nil {
		return err
	}
	h.metrics.AddLimits()
	for _, service := range h.wiring.Services {
		if err := h.add(ctx, service); err != nil {
			return fmt.Errorf("start %s: %w", service.Name, err)
		}
	}
	// Each check opens a new connection: cache it long enough for those who wait for a broker.
	h.kafka = &health.Check{Kept: time.Second, Ask: func(ctx context.Context) error { return kafka.Ping(ctx, h.servers.brokers) }}
	h.deadLetters = kafka.NewProducer(h.servers.brokers, "", h.log).As(h.servers.principal(kafka.DeadLetters)) // their topics have the prefix already
	records, err := h.pools.get(schema.Operations)
	if err != nil {
		return err
	}
	for _, spec := range h.wiring.Sources {
		deliver, ok := h.deliver[spec.Sink]
		if !ok {
			return fmt.Errorf("KafkaSource %s: the function %s takes no CloudEvents", spec.Name, spec.Sink)
		}
		f := h.functions[spec.Sink]
		submit := f.Shared().Submit
		if h.processes != nil {
			submit, spec.Consumers = nil, underWay
		}
		if o.chaos.strikes(spec.Sink) {
			deliver, submit = o.chaos.around(deliver), nil
		}
		h.sources = append(h.sources, kafka.NewSource(kafka.SourceOptions{
			Brokers: h.servers.brokers, Login: h.servers.principal(spec.Name), Spec: spec, Deliver: deliver, Submit: submit,
			Ready: func(ctx context.Context) bool {
				ready, err := f.Ready(ctx)
				return ready && err == nil
			},
			DeadLetters: h.deadLetters, Lost: recordLoss(records), Metrics: h.metrics.Metrics, Log: h.log, Drain: o.drain,
		}))
	}
	if o.auditInterval > 0 {
		config, err := h.servers.as(privilege.Audit)
		if err != nil {
			return err
		}
		if h.auditing, err = newAuditing(config, o.auditInterval, h.metrics.Registry, h.log); err != nil {
			return err
		}
	}
	connectors, err := statusesOf(h.wiring, o.environ)
	if err != nil {
		return err
	}
	h.gauges, err = gauge.Register(h.metrics.Registry, gauge.Options{
		Databases: h.pools.open, Outboxes: h.wiring.Outboxes(), Brokers: h.servers.brokers, Login: h.servers.principal(kafka.Operator),
		Sources: h.wiring.Sources, Log: h.log, Connectors: connectors,
		OpenLetters: func(ctx context.Context) (map[gauge.Letters]int, error) { return h.console.OpenLetters(ctx) }, // it exists before the first scrape
	})
	if err != nil {
		return err
	}
	warnUncaptured(ctx, h.wiring, h.pools, h.log)
	checks := map[string]func(context.Context) error{console.Database: h.pools.err, console.Kafka: h.kafka.Err}
	if connectors != nil {
		checks[console.Connect] = (&health.Check{Ask: func(ctx context.Context) error { return standing(ctx, connectors) }}).Err
	}
	avro, err := registry.OpenReader(h.servers.config)
	if err != nil {
		return err
	}
	if err := h.prepareLogin(o.addr); err != nil {
		return err
	}
	h.console, err = console.New(console.Options{
		Avro:   avro,
		Wiring: h.wiring, TopicPrefix: o.environ["KAFKA_TOPIC_PREFIX"], Brokers: h.servers.brokers, Login: h.servers.principal(kafka.Operator), Open: h.pools.get,
		FunctionsURL: h.origin + "/functions/{consumer}", FunctionsToken: h.token, TraceURL: o.environ["TRACE_URL"], Audit: h.auditing.lastReport, Metrics: h.metrics.Metrics, Log: h.log,
		Currency: cmp.Or(h.servers.config["CURRENCY"], base.DefaultCurrency), Verifier: h.verifier, Sessions: h.sessions,
		Checks: checks, Connectors: connectors,
	})
	return err
}

// add creates and starts the function of a Service. The environment of this process overrides that of its manifest.
func (h *harness) add(ctx context.Context, service knative.Service) error {
	construct, ok := functions.Catalogue[service.Function]
	if !ok {
		return fmt.Errorf("the catalogue has no function %q", service.Function)
	}
	f := construct()
	if h.processes != nil {
		f = h.processes.remote(service, f)
	}
	config, err := h.share(service, f)
	if err != nil {
		return err
	}
	base := f.Shared()
	if err := h.shareGateway(f, config); err != nil {
		return err
	}
	if err := f.Start(ctx, config); err != nil {
		return err
	}
	h.functions[service.Name] = f
	sources, err := h.sourcesOf(f, config)
	if err != nil {
		return err
	}
	handler, err := host.HandlerFor(f, sources)
	if err != nil {
		return err
	}
	h.handlers[service.Name] = handler
	if deliver, err := host.Deliver(f); err == nil {
		h.deliver[service.Name] = deliver
		h.metrics.AddFunction(base.Name)
		if service.Function == "publishoutbox" {
			dispatch := func(context.Context) {}
			if relay, here := f.(*publishoutbox.Function); here {
				dispatch = relay.Dispatch
			}
			h.pokers[base.Schema] = newPoker(deliver, dispatch)
			h.metrics.AddRelay(base.Schema)
		}
		if base.Schema == schema.Payments {
			h.metrics.AddPayments()
		}
	}
	return nil
}

// share gives a function what it shares with others, and returns its configuration.
func (h *harness) share(service knative.Service, f functions.Function) (config map[string]string, err error) {
	own, err := h.servers.as(service.Name)
	if err != nil {
		return nil, err
	}
	config = map[string]string{}
	maps.Copy(config, service.Env)
	maps.Copy(config, own)
	config[createorder.WaitVariable] = cmp.Or(own[createorder.WaitVariable], admitMaxWait(h.wiring.HasPayments()))
	if h.processes != nil {
		h.servers.onlyAs(config, service.Name)
	}
	base := f.Shared()
	base.Log, base.Poke, base.Metrics = h.log, h.poke, h.metrics.Metrics
	base.Dispatcher = h.dispatcher(cmp.Or(base.Schema, service.Outbox()))
	base.Recent = h.recent
	if base.Schema != "" { // the relay has its own pool
		if base.DB, err = h.pools.get(base.Schema); err != nil {
			return nil, err
		}
		if h.servers.logins == nil {
			base.Database = h.pools.checks[base.Schema]
		} else if base.DB, err = h.pools.function(config, base.Schema); err != nil {
			return nil, err
		}
	}
	return config, nil
}

// admitMaxWait is how long an accepted order may take under overload unless ADMIT_MAX_WAIT is set. The manifests admit every order:
// there, functions may be asleep, and more of them start only where there is a queue.
func admitMaxWait(payments bool) string {
	if payments { // a call to the gateway may take 3 s
		return "5s"
	}
	return "1s"
}

// recordLoss returns a func that stores lost records for the audit.
func recordLoss(db *sql.DB) func(context.Context, kafka.Loss) error {
	return func(ctx context.Context, l kafka.Loss) error {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		return operations.New(db).RecordLost(ctx, operations.RecordLostParams{
			Topic: l.Topic, KafkaPartition: int(l.Partition), Consumer: l.Consumer, FirstOffset: l.From, NextOffset: l.To, At: time.Now(),
		})
	}
}

// dispatcher returns the dispatcher of a schema, nil if the functions run in other processes.
func (h *harness) dispatcher(name string) *outbox.Dispatcher {
	if h.processes != nil || !slices.Contains(schema.WithOutbox, name) {
		return nil
	}
	if h.dispatchers[name] == nil {
		h.dispatchers[name] = outbox.NewDispatcher(outbox.DefaultHold, time.Now, func(shards ...uint8) { h.poke(name, shards...) })
	}
	return h.dispatchers[name]
}

// poke wakes the relay of a schema.
func (h *harness) poke(schema string, shards ...uint8) {
	if p, ok := h.pokers[schema]; ok {
		p.Poke(shards...)
	}
}

// serve runs the sources, the relays, the PingSources and the HTTP server until ctx ends. It stops inputs first and their
// dependencies last: HTTP, ticks, sources with events in flight, relays, functions.
func (h *harness) serve(ctx context.Context, o options, doors *doors, ready func()) error {
	running, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	relaying, endRelays := context.WithCancel(context.WithoutCancel(ctx))
	defer endRelays()
	for _, p := range h.pokers {
		p.run(relaying)
	}
	var sources sync.WaitGroup
	for _, source := range h.sources {
		sources.Go(func() { source.Run(running) })
	}
	pings, err := startPings(running, h.wiring.Pings, h.deliver)
	if err != nil {
		return err
	}
	if h.auditing != nil {
		go h.auditing.run(running) // its end is not awaited: it only reads, and may be waiting for a broker
	}
	failed := make(chan error, 2)
	server := doors.serve(h, o, failed)
	server.RegisterOnShutdown(h.console.EndStreams)

	err = h.awaitReady(ctx, o)
	if ctx.Err() != nil {
		err = nil // stopped before it was ready
	} else if err == nil {
		ready()
		select {
		case <-ctx.Done():
		case err = <-failed:
		case err = <-h.servers.lost():
		case err = <-h.servers.bankLost():
		}
	}
	h.log.Info("shutting down, waiting for events in flight", "within", o.drain)
	cut, closed := endHTTP(context.WithoutCancel(ctx), server, endWithin)
	if cut {
		h.log.Warn("connections cut: clients had not sent their requests or read the answers", "within", endWithin)
	}
	err = errors.Join(err, closed)
	pings.stop()
	end()
	sources.Wait()
	endRelays()
	for _, p := range h.pokers {
		p.wait()
	}
	err = errors.Join(err, h.stop(ctx))
	return errors.Join(err, doors.endOps()) // last: until here it tells what the harness does
}

// stop stops the functions, all at the same time, and closes what they share, within stopWithin.
func (h *harness) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	errs := []error{h.console.Close(ctx)}
	stopped := make(chan error, len(h.functions))
	for name, f := range h.functions {
		go func() {
			err := f.Stop(ctx)
			if err != nil {
				err = fmt.Errorf("stop %s: %w", name, err)
			}
			stopped <- err
		}()
	}
	for range h.functions {
		errs = append(errs, <-stopped)
	}
	if h.deadLetters != nil {
		errs = append(errs, h.deadLetters.Close())
	}
	errs = append(errs, h.gauges.Close())
	if h.pools != nil {
		errs = append(errs, h.pools.close())
	}
	return errors.Join(errs...)
}
