// Package simulation runs the functions with a seeded scheduler: in any order, any number of times, and with a crash at any
// call to the database. For a seed it returns the violated invariants, if any. It also runs pairs of transactions about one
// order in every order of their statements.
package simulation

import (
	"context"
	"database/sql"
	"encoding/binary"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions"
	"example.com/orders/functions/cancelorder"
	"example.com/orders/functions/createorder"
	"example.com/orders/functions/expireorders"
	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/inventoryapi"
	"example.com/orders/functions/notify"
	"example.com/orders/functions/publishoutbox"
	"example.com/orders/knative"
	"example.com/orders/sql/schema"
)

// timeout is how long an order may be pending: a few steps of a run, so that orders expire while their events are in flight.
const timeout = 4 * time.Minute

// bed is all functions on their own schemas. Runs follow one another on it; each leaves nothing in flight.
type bed struct {
	server  schema.Server
	wiring  *knative.Wiring
	pools   map[string]*sql.DB // for the scheduler's own queries, which bypass all taps
	members map[string]*member // by Service name
	bank    *bank              // nil if orders are not paid
	// dispatchers publish what the functions of a schema have committed. The relays know nothing of them, as in another process.
	dispatchers map[string]*dispatching
	run         *run // the current run

	create *createorder.Function
	cancel *cancelorder.Function
	stock  *inventoryapi.Function
	notify *notify.Function
}

// member is a deployed function.
type member struct {
	name     string
	db       *sql.DB
	tap      *tap
	function functions.Function
}

// handle hands events to the function at the same time, and returns its answers.
func (m *member) handle(ctx context.Context, es ...event.Event) []error {
	return functiontest.Together(ctx, m.function, es...)
}

// overlayPayment is the overlay in which orders are paid.
const overlayPayment = "payment"

// newBed returns a bed with the wiring of an overlay.
func newBed(t testing.TB, overlay string) *bed {
	t.Helper()
	wiring, err := knative.LoadOverlay(knative.Manifests(), overlay)
	require.NoError(t, err)
	b := &bed{server: mysqltest.Server(t), wiring: wiring, pools: map[string]*sql.DB{}, members: map[string]*member{}, dispatchers: map[string]*dispatching{}}
	for _, name := range wiring.Outboxes() {
		b.dispatchers[name] = &dispatching{bed: b, schema: name}
	}
	if overlay == overlayPayment {
		b.bank = newBank(b)
	}
	for _, name := range schema.All {
		b.pools[name] = mysqltest.Pool(t, b.server, name)
	}
	b.run = newRun(b, 0)
	for _, service := range wiring.Services {
		f, m := b.start(t, service)
		if m != nil {
			b.members[service.Name] = m
		}
		switch f := f.(type) {
		case *cancelorder.Function:
			b.cancel = f
		case *createorder.Function:
			b.create = f
		case *inventoryapi.Function:
			b.stock = f
		case *notify.Function:
			b.notify = f
		}
	}
	return b
}

// start starts the function of a Service, with a tap, the simulation's clock and its ids. The orders API has none of them:
// it only fronts two others. The function is stopped when t ends.
func (b *bed) start(t testing.TB, service knative.Service) (functions.Function, *member) {
	t.Helper()
	f := functions.Catalogue[service.Function]()
	base := f.Shared()
	if service.Function == "publishoutbox" {
		base.Schema = service.Outbox()
	}
	if service.Function == "ordersapi" {
		return f, nil
	}
	m := &member{name: service.Name, function: f}
	m.tap, m.db = newTap(t, b.server, base.Schema, func() time.Time { return b.run.now })
	base.DB = m.db
	base.Now = func() time.Time { return b.run.now.Add(b.run.skew(service.Name)) }
	base.NewID = func() string { return newID(base.Now(), b.run.ids) }
	base.Log = slog.New(mailLog{b, &sync.Mutex{}})
	if d := b.dispatchers[base.Schema]; d != nil && service.Outbox() == "" {
		d.functions = append(d.functions, base)
	}
	switch f := f.(type) {
	case *publishoutbox.Function:
		f.Publisher = publisher{b}
	case *expireorders.Function:
		f.Timeout = timeout
	case interface{ UseGateway(g gateway.Gateway) }:
		f.UseGateway(b.bank)
	}
	require.NoError(t, f.Start(t.Context(), map[string]string{}))
	t.Cleanup(func() { assert.NoError(t, f.Stop(context.Background())) })
	return f, m
}

// newID returns a UUIDv7 of a time and of random bits that the seed reproduces.
func newID(at time.Time, random *rand.Rand) string {
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[:8], uint64(at.UnixMilli())<<16|random.Uint64()&0xfff)
	binary.BigEndian.PutUint64(id[8:], random.Uint64())
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id.String()
}

// mailLog reads the log lines of notify's mails, of which those of a batch come at the same time, and drops all others.
type mailLog struct {
	bed *bed
	mu  *sync.Mutex
}

func (mailLog) Enabled(context.Context, slog.Level) bool { return true }
func (h mailLog) WithAttrs([]slog.Attr) slog.Handler     { return h }
func (h mailLog) WithGroup(string) slog.Handler          { return h }
func (h mailLog) Handle(_ context.Context, r slog.Record) error {
	if len(r.Message) < 9 || r.Message[:9] != "Email to " {
		return nil
	}
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "event_id" {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.bed.run.notified = append(h.bed.run.notified, a.Value.String())
		}
		return a.Key != "event_id"
	})
	return nil
}
