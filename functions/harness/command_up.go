package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/IBM/sarama"
	"github.com/spf13/pflag"

	"example.com/orders/functions/internal/messaging/failpoint"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/observe/exposition"
	"example.com/orders/functions/internal/observe/otlp"
	"example.com/orders/knative"
)

// prepareUp adds the flags of up.
func prepareUp(environ map[string]string) func(*pflag.FlagSet) runner {
	return func(flags *pflag.FlagSet) runner {
		var set options
		set.chaos.flags(flags)
		flags.BoolVar(&set.stock, "sample-stock", true, "put a few SKUs on stock at the first start [HARNESS_SAMPLE_STOCK=false]")
		names := flags.String("hosts", environ["HARNESS_HOSTS"], "`names` and addresses that it answers to besides localhost and 127.0.0.1, separated by commas [HARNESS_HOSTS]")
		flags.DurationVar(&set.drain, "drain", 10*time.Second, "how long events in flight may take to finish at shutdown")
		flags.DurationVar(&set.auditInterval, "audit-interval", 30*time.Second, "interval of the audits; 0 for never")
		flags.BoolVar(&set.kafkaPassword, "kafka-password", false, "require KAFKA_SASL_USER and KAFKA_SASL_PASSWORD from the clients of the in-process Kafka, by KAFKA_SASL_MECHANISM")
		flags.BoolVar(&set.trustNetwork, "trust-network", false, "serve on an address that is not a loopback one without a login: everybody there may do everything [HARNESS_TRUST_NETWORK=true]")
		flags.BoolVar(&set.pprof, "pprof", false, "serve Go's profiles at /debug/pprof/, on --ops-addr if there is one")
		flags.IntVar(&set.connections, "max-connections", 0, fmt.Sprintf("connections of clients at a time; more get a 503 (default %d) [HARNESS_MAX_CONNECTIONS]", defaultConnections))
		flags.BoolVar(&set.deployed, "deployed", false, "run each function as a process of its own behind HTTP, as bench --deployed measures them; /metrics has nothing of theirs")
		return func(ctx context.Context, o options, out streams) (err error) {
			o.chaos, o.stock, o.drain, o.auditInterval = set.chaos, set.stock, set.drain, set.auditInterval
			o.kafkaPassword, o.pprof, o.deployed = set.kafkaPassword, set.pprof, set.deployed
			if o.deployed && environ["OIDC_CLIENT_ID"] != "" {
				return usage(errors.New("--deployed with OIDC_CLIENT_ID: a session of the console is known to this process only, and the APIs run in others; leave one of the two out"))
			}
			if o.hosts, err = readHosts(*names); err != nil {
				return usage(fmt.Errorf("--hosts: %w", err))
			}
			if o.connections = set.connections; !flags.Changed("max-connections") {
				if o.connections, err = readConnections(environ); err != nil {
					return usage(err)
				}
			}
			if o.connections < 1 || o.connections > highestConnections {
				return usage(fmt.Errorf("--max-connections %d: give a number from 1 to %d", o.connections, highestConnections))
			}
			if o.trustNetwork, err = trusting(flags, set.trustNetwork, environ); err != nil {
				return usage(err)
			}
			if !flags.Changed("sample-stock") {
				if o.stock, err = readBool(environ, "HARNESS_SAMPLE_STOCK", true); err != nil {
					return usage(err)
				}
			}
			return up(ctx, o, out)
		}
	}
}

// gcPercent is how much the heap grows between garbage collections. The live heap is 15 to 30 MiB. Beside Go's default, twice as
// much saves an eighth of an order's CPU for some 10 MiB, and three times as much a little more for some 25.
const gcPercent = 300

// collectSeldom sets gcPercent, unless GOGC is set.
func collectSeldom(environ map[string]string) {
	if environ["GOGC"] == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// collectOften collects the heap as often as Go does by default, until restore is called: it is for work that holds much. It changes
// nothing if GOGC is set.
func collectOften() (restore func()) {
	was := debug.SetGCPercent(100)
	if was != gcPercent {
		debug.SetGCPercent(was)
	}
	return func() { debug.SetGCPercent(was) }
}

// up starts everything, serves until ctx ends, and drains.
func up(ctx context.Context, o options, out streams) (err error) {
	begin := time.Now()
	log := o.logger(out.stderr)
	collectSeldom(o.environ)
	sarama.Logger = saramaLog{log} // before the first client: sarama's clients log from their own goroutines
	endTraces, err := otlp.Start(ctx, o.environ, log)
	if err != nil {
		return err
	}
	defer func() {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if lost := endTraces(stopping); lost != nil {
			log.Warn("the last traces were not exported", "error", lost)
		}
	}()
	wiring, err := knative.Configured(o.environ)
	if err != nil {
		return err
	}
	if err := disturb(o, wiring, log); err != nil {
		return usage(err)
	}
	// Before the servers start, so that an address in use is reported at once.
	doors, err := openDoors(o, log)
	if err != nil {
		return err
	}
	defer doors.close()
	data, err := openData(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, data.close()) }()
	servers, err := startServers(ctx, o, data, log)
	if err != nil {
		return err
	}
	defer func() {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
		defer cancel()
		err = errors.Join(err, servers.stop(stopping))
	}()
	if err := prepare(ctx, servers, wiring, log); err != nil {
		return err
	}
	if err := checkOverlay(servers, wiring, o, log); err != nil {
		return err
	}
	if err := servers.prepareGateway(wiring, o, data, log); err != nil {
		return err
	}
	servers.ops, servers.certFile = doors.opsAddress(), o.certFile
	h := &harness{
		log: log, wiring: wiring, servers: servers, metrics: exposition.New(),
		hosts: doors.hosts(o), origin: doors.origin(o),
	}
	if o.deployed {
		if h.processes, err = newProcesses(wiring.Services, servers.config, data.path, o.pprof, log); err != nil {
			return err
		}
		defer h.processes.close()
	}
	if err := h.start(ctx, o); err != nil {
		return errors.Join(err, h.stop(ctx))
	}
	if err := data.announce(servers, doors.public.Addr().String(), pids(h.functions)); err != nil {
		return errors.Join(err, h.stop(ctx))
	}
	return h.serve(ctx, o, doors, func() {
		banner(out.stderr, h, data, time.Since(begin))
	})
}

// disturb sets up the injected faults, if any, and logs them.
func disturb(o options, wiring *knative.Wiring, log *slog.Logger) error {
	if err := o.chaos.check(wiring); err != nil {
		return err
	}
	if o.chaos.text != "" {
		log.Warn("chaos: faults are injected into deliveries", "chaos", o.chaos.text, "function", or(o.chaos.function, "all"))
	}
	if err := failpoint.Arm(o.environ["HARNESS_FAILPOINTS"]); err != nil {
		return fmt.Errorf("HARNESS_FAILPOINTS: %w", err)
	}
	if points := failpoint.Armed(); points != nil {
		log.Warn("failpoints: this process will kill itself on purpose", "points", points)
	}
	return nil
}

// prepare migrates the schemas and creates the topics in parallel.
func prepare(ctx context.Context, s *servers, wiring *knative.Wiring, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	topics := make(chan error, 1)
	go func() {
		waiting, there := context.WithCancel(ctx)
		defer there()
		go kafka.LogDiagnosis(waiting, s.brokers, log)
		topics <- kafka.EnsureTopics(ctx, s.brokers, wiring.Topics)
	}()
	applied, users, err := s.migrate(ctx)
	for _, a := range applied {
		log.Info("migration applied", "schema", a.Schema, "version", a.Version, "name", a.Name)
	}
	for _, u := range users {
		log.Debug("database user changed", "change", u)
	}
	if err := errors.Join(err, <-topics); err != nil {
		return err
	}
	authorized, err := s.authorize(wiring)
	if err != nil {
		return err
	}
	for _, change := range authorized {
		log.Debug("principal of Kafka changed", "change", change)
	}
	s.widen(wiring, log)
	return nil
}
