// Package console serves the pages for watching and operating the system: HTML, JSON and live streams. It reads the schemas,
// the topics and the last audit, and writes only through the operators' packages deadletter and backlog and the REST API.
package console

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/messaging/registry"
	"example.com/orders/functions/internal/observe/metrics"
	"example.com/orders/functions/internal/operate/asyncapi"
	"example.com/orders/functions/internal/operate/audit"
	"example.com/orders/functions/internal/operate/connect"
	"example.com/orders/functions/internal/operate/deadletter"
	"example.com/orders/functions/internal/operate/openapi"
	"example.com/orders/functions/internal/web/identity"
	"example.com/orders/functions/internal/web/rest"
	"example.com/orders/functions/internal/web/session"
	"example.com/orders/knative"
	"example.com/orders/sql/schema"
)

// Options configures a console.
type Options struct {
	// Wiring has TopicPrefix before the names of its topics and groups; the pages hide it.
	Wiring      *knative.Wiring
	TopicPrefix string
	Brokers     []string
	// Login is that of the readers of the topics; nil stands for the process's own.
	Login *kafka.Login
	// Open returns the pool of a schema, which the console does not close.
	Open func(schema string) (*sql.DB, error)
	// FunctionsURL is the URL of functions, with {consumer} for the name.
	FunctionsURL string
	// FunctionsToken is what the functions ask of those who send events; nil if they ask for nothing.
	FunctionsToken *identity.Token
	// Currency is the ISO 4217 code of the amounts of new orders.
	Currency string
	// TraceURL is the URL of a trace where traces are shown, with {trace} for its id; empty without.
	TraceURL string
	// Avro reads the data of dead letters in Avro; it may be nil.
	Avro *registry.Reader
	// Audit returns the last report, nil before the first one.
	Audit func() *audit.Report
	// Checks tell whether the servers work, by Database, Kafka and Connect. Each answers within a bound, even if its server hangs.
	Checks map[string]func(context.Context) error
	// Connectors returns the status of each connector that captures an outbox, by name; nil if relays publish, or if nobody has
	// said where Kafka Connect is.
	Connectors func(context.Context) (map[string]connect.Status, error)
	// Metrics has the counters of dead letters.
	Metrics *metrics.Metrics
	// Verifier reads tokens. If it is enabled, the console is for operators; otherwise, and if it is nil, for everybody.
	Verifier *identity.Verifier
	// Sessions are those of people who logged in; it may be nil.
	Sessions *session.Sessions
	Log      *slog.Logger
}

// Console serves the pages. New creates it, Close ends it.
type Console struct {
	o        Options
	topology topology
	document asyncapi.Document // of the wiring
	hub      *hub
	monitor  *monitor
	history  *recorder
	letters  indexed
	jobs     *jobs

	orders, inventory, notifications, operations *sql.DB

	payments *sql.DB // nil if orders are not paid

	outboxPools map[string]*sql.DB // by schema

	// readers has the idle readers of topics; nil is one that is not connected. A reader is given back before its user
	// answers a client.
	readers chan *kafka.Reader
}

// maxReaders bounds the concurrent readers of Kafka, so that many requests for letters do not hold up the flow.
const maxReaders = 4

// New returns a console, which watches the servers and the flow until it is closed.
func New(o Options) (*Console, error) {
	base, err := knative.Load(knative.Base())
	if err != nil {
		return nil, err
	}
	document, err := asyncapi.New(o.Wiring, asyncapi.Options{Prefix: o.TopicPrefix, Brokers: o.Brokers, Base: base})
	if err != nil {
		return nil, err
	}
	c := &Console{o: o, topology: newTopology(o.Wiring, o.TopicPrefix), document: document, readers: make(chan *kafka.Reader, maxReaders)}
	for range maxReaders {
		c.readers <- nil
	}
	var failed error
	open := func(name string) *sql.DB {
		db, err := o.Open(name)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("open %s for the console: %w", name, err))
		}
		return db
	}
	c.orders, c.inventory, c.notifications, c.operations = open(schema.Orders), open(schema.Inventory), open(schema.Notifications), open(schema.Operations)
	if o.Wiring.HasPayments() {
		c.payments = open(schema.Payments)
	}
	c.outboxPools = map[string]*sql.DB{}
	for _, name := range o.Wiring.Outboxes() {
		c.outboxPools[name] = open(name)
	}
	if failed != nil {
		return nil, failed
	}
	c.letters.Index = deadletter.NewIndex(o.Wiring.Sources, deadletter.MaxIndexed)
	c.hub = newHub(c.view)
	c.monitor = newMonitor(o.Checks, func() bool { return c.hub.watched("outages") }, func() { c.hub.refresh("outages") })
	c.history = newRecorder(c.newHistory(), func() { c.hub.refresh("history") })
	c.jobs = &jobs{log: o.Log, changed: func() {
		ctx, cancel := context.WithTimeout(context.Background(), readWithin)
		defer cancel()
		_ = c.refreshLetters(ctx, 0) // the views of letters have the error
		c.hub.refresh("letterjobs")
		c.hub.refresh("deadletters")
	}}
	return c, nil
}

// Close ends the streams and the connections to the brokers, and waits until ctx ends for pending reads. It may be called on
// nil.
func (c *Console) Close(ctx context.Context) error {
	if c == nil {
		return nil
	}
	ended := make(chan error, 1)
	go func() {
		c.jobs.close()
		c.hub.close()
		c.monitor.close()
		c.history.close()
		ended <- c.closeReaders(ctx)
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return fmt.Errorf("close the console, which is still reading: %w", ctx.Err())
	}
}

// EndStreams ends the streams, so that a server's shutdown does not wait for them, and stops the actions on letters while the
// functions still answer.
func (c *Console) EndStreams() {
	c.jobs.stop()
	c.hub.close()
}

// Register serves the console on mux: the pages from / on, the rest below /console/, and the descriptions of the REST API and
// of the events.
func (c *Console) Register(mux rest.Mux) {
	files := assets()
	for _, page := range []string{"/{$}", "/orders", "/orders/{id}", "/search", "/stock", "/payments", "/outbox", "/deadletters", "/audit"} {
		mux.HandleFunc("GET "+page, secured(c.page(files.page("index.html"))))
	}
	for _, page := range []string{"/docs", "/docs/cloudevents"} {
		mux.HandleFunc("GET "+page, secured(files.page("docs.html")))
	}
	for _, page := range []string{"/docs/events", "/docs/events/{type}"} { // they tell the wiring
		mux.HandleFunc("GET "+page, secured(c.page(files.page("docs.html"))))
	}
	mux.HandleFunc("GET /console/static/{file}", secured(files.file))
	mux.HandleFunc("GET /openapi.json", openapi.Handler)
	asyncapi.RegisterSchemas(mux)
	mux.Handle("GET /asyncapi.json", c.operators(asyncapi.Handler(c.document))) // it has the addresses of the brokers
	c.route(mux, "GET /console/topology", c.serveTopology)
	c.route(mux, "GET /console/catalogue", c.serveCatalogue)
	c.route(mux, "GET /console/settings", c.serveSettings)
	c.route(mux, "GET /console/search", c.serveLinks)
	c.route(mux, "GET /console/search/orders", c.searchOrders)
	c.route(mux, "GET /console/search/lines", c.searchLines)
	mux.Handle("GET /console/events", c.operators(http.HandlerFunc(c.serveEvents)))
	c.route(mux, "GET /console/deadletters/{topic}/{partition}/{offset}", c.serveLetter)
	c.route(mux, "POST /console/deadletters", c.changeLetters)
	c.route(mux, "POST /console/deadletters/correct", c.correctLetter)
	c.route(mux, "POST /console/deadletters/jobs/{id}/stop", c.jobs.serveStop)
	c.route(mux, "GET /console/outbox/{schema}/{id}", c.serveRow)
	c.route(mux, "POST /console/outbox", c.changeRows)
	c.route(mux, "POST /console/payments", c.changePayments)
}

func (c *Console) route(mux rest.Mux, pattern string, handle func(http.ResponseWriter, *http.Request) error) {
	mux.Handle(pattern, c.operators(rest.Handler(c.log, handle)))
}

func (c *Console) log() *slog.Logger { return c.o.Log }

// serveSettings answers with what the pages need to know of the configuration and of the user.
func (c *Console) serveSettings(w http.ResponseWriter, r *http.Request) error {
	return rest.JSON(w, http.StatusOK, struct {
		Currency string `json:"currency"`
		Payments bool   `json:"payments"`       // whether orders are paid
		User     string `json:"user,omitempty"` // name of who logged in
	}{c.o.Currency, c.payments != nil, session.Name(r.Context())})
}

// actor returns the recorded name, with the address of the request: the subject of who logged in, whatever name was given, and
// without a log-in the given one.
func actor(r *http.Request, name string) string {
	if subject := identity.From(r.Context()).Subject; subject != "" {
		name = subject
	}
	if name == "" {
		return "console at " + addressOf(r)
	}
	return name + " (console at " + addressOf(r) + ")"
}

// addressOf returns the address of the client, without the port.
func addressOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// momentLayout is the format of the times on the pages.
const momentLayout = "2006-01-02T15:04:05.000000Z"

// moment formats a time for the pages, with the microseconds that the database keeps.
func moment(t time.Time) string { return t.UTC().Format(momentLayout) }

func momentOf(t *time.Time) string {
	if t == nil {
		return ""
	}
	return moment(*t)
}
