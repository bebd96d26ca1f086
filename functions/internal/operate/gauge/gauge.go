// Package gauge has the collectors that read databases and brokers when Prometheus scrapes: orders by status, unsent rows of
// the outboxes, stock, payments with an unknown outcome, consumer lag, and open dead letters.
package gauge

import (
	"context"
	"database/sql"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/observe/health"
	"example.com/orders/functions/internal/operate/connect"
	"example.com/orders/knative"
	"example.com/orders/sql/schema"
)

// Options configures the gauges.
type Options struct {
	// Databases has a pool for each schema to read, by name.
	Databases map[string]*sql.DB
	// Outboxes names the schemas with an outbox.
	Outboxes []string
	Brokers  []string
	// Login is that of the reader of the consumers' offsets; nil stands for the process's own.
	Login *kafka.Login
	// Sources are the consumers whose lag is read, with their dead-letter topics.
	Sources []knative.KafkaSource
	// OpenLetters counts the dead letters that wait for an operator; nil without them.
	OpenLetters func(context.Context) (map[Letters]int, error)
	// Connectors returns the status of each connector, by name; nil if relays publish.
	Connectors func(context.Context) (map[string]connect.Status, error)
	Log        *slog.Logger
	// Every is the age after which a value is read again; zero means 5 seconds.
	Every time.Duration
}

const (
	// share bounds the time for readings: the pause after a reading is at least this many times its duration.
	share = 20
	// patience is how long a scrape waits for a reading; then it gets the previous values.
	patience = 2 * time.Second
	// stale is how long values that cannot be read again outlive the time when they should have been.
	stale = time.Minute
	// readTimeout bounds a reading from a database.
	readTimeout = 5 * time.Second
	// lettersTimeout bounds the reading of the dead letters: after an incident there may be very many.
	lettersTimeout = time.Minute
)

// Gauges has the collectors of one process.
type Gauges struct {
	log      *slog.Logger
	readings []*reading
	lag      *lag
}

var up = prometheus.NewDesc("orders_watch_up", "Whether the last reading of a source's gauges succeeded.", []string{"source"}, nil)

// Register adds the gauges to a registry. Close them after the last scrape.
func Register(registry *prometheus.Registry, o Options) (*Gauges, error) {
	if o.Every == 0 {
		o.Every = 5 * time.Second
	}
	g := &Gauges{log: o.Log, lag: &lag{brokers: o.Brokers, login: o.Login, sources: o.Sources}}
	within := func(timeout time.Duration, source string, read func(context.Context) ([]prometheus.Metric, error)) {
		g.readings = append(g.readings, &reading{source: source, read: read, every: o.Every, timeout: timeout})
	}
	add := func(source string, read func(context.Context) ([]prometheus.Metric, error)) {
		within(readTimeout, source, read)
	}
	for _, name := range o.Outboxes {
		if db, ok := o.Databases[name]; ok {
			add("outbox of "+name, func(ctx context.Context) ([]prometheus.Metric, error) { return readOutbox(ctx, db, name) })
		}
	}
	if db, ok := o.Databases[schema.Orders]; ok {
		add("orders", func(ctx context.Context) ([]prometheus.Metric, error) { return readOrders(ctx, db) })
	}
	if db, ok := o.Databases[schema.Inventory]; ok {
		add("stock", func(ctx context.Context) ([]prometheus.Metric, error) { return readStock(ctx, db) })
	}
	if db, ok := o.Databases[schema.Payments]; ok {
		add("payments", func(ctx context.Context) ([]prometheus.Metric, error) { return readPayments(ctx, db) })
	}
	if len(o.Brokers) > 0 {
		add("consumers", g.lag.read)
	}
	if o.Connectors != nil {
		add("connectors", func(ctx context.Context) ([]prometheus.Metric, error) { return readConnectors(ctx, o.Connectors) })
	}
	if o.OpenLetters != nil {
		within(lettersTimeout, "dead letters", func(ctx context.Context) ([]prometheus.Metric, error) {
			return countLetters(ctx, o.Sources, o.OpenLetters)
		})
	}
	return g, registry.Register(g)
}

// Close closes the connection to the brokers.
func (g *Gauges) Close() error {
	if g == nil {
		return nil
	}
	return g.lag.close()
}

// Describe names the gauges.
func (g *Gauges) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		up, ordersByStatus, oldestPending, outboxRows, oldestUnsent, oldestParked, stockSKUs, stockUnits, unknownPayments, oldestUnknown,
		consumerLag, deadLetterRecords, openLetters, connectorRunning,
	} {
		descriptions <- d
	}
}

// Collect reads all sources in parallel; fresh values come from memory.
func (g *Gauges) Collect(values chan<- prometheus.Metric) {
	var asked sync.WaitGroup
	for _, r := range g.readings {
		asked.Go(func() {
			read, ok := r.get(g.log)
			for _, value := range read {
				values <- value
			}
			succeeded := 0.0
			if ok {
				succeeded = 1
			}
			values <- gauge(up, succeeded, r.source)
		})
	}
	asked.Wait()
}

func gauge(d *prometheus.Desc, value float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

// reading is the cached values of one source.
type reading struct {
	source  string
	read    func(context.Context) ([]prometheus.Metric, error)
	every   time.Duration
	timeout time.Duration

	mu      sync.Mutex
	values  []prometheus.Metric
	until   time.Time // when the values are dropped
	next    time.Time // when they are read again
	running chan struct{}
	err     error // of the last reading
}

// get returns the values, reading them again when due, and whether the last reading succeeded.
func (r *reading) get(log *slog.Logger) (values []prometheus.Metric, ok bool) {
	r.mu.Lock()
	if r.running == nil && time.Now().After(r.next) {
		r.running = make(chan struct{})
		go r.run(log, r.running)
	}
	running := r.running
	r.mu.Unlock()
	if running != nil {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		select {
		case <-running:
		case <-timer.C:
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Now().After(r.until) {
		return nil, false
	}
	return r.values, r.err == nil
}

// run reads once. It outlives the scrape that started it: the next one finds the values.
func (r *reading) run(log *slog.Logger, done chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), r.timeout)
	defer cancel()
	begin := time.Now()
	values, err := r.read(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		level := slog.LevelWarn
		if r.err != nil {
			level = slog.LevelDebug // only the first failure is a warning
		}
		log.Log(ctx, level, "cannot read gauges", "source", r.source, "error", err)
	}
	r.err = err
	r.next = time.Now().Add(health.Pause(r.every, share, time.Since(begin), err))
	if err == nil {
		r.values, r.until = values, r.next.Add(stale)
	}
	r.running = nil
	close(done)
}
