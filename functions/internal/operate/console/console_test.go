package console_test

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/observe/exposition"
	"example.com/orders/functions/internal/observe/metrics"
	"example.com/orders/functions/internal/operate/audit"
	"example.com/orders/functions/internal/operate/console"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/knative"
	"example.com/orders/sql/messaging"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/schema"
)

// bench is a console with its own schemas and topics, served over HTTP.
type bench struct {
	t       *testing.T
	url     string
	server  schema.Server
	cluster kafkatest.Cluster
	metrics *metrics.Metrics
	console *console.Console
	mux     *http.ServeMux
	report  atomic.Pointer[audit.Report]
	notify  atomic.Pointer[http.HandlerFunc] // handles every event if nil
	token   string                           // of the next requests; empty without

	youngest time.Time // of the dead letters that were set aside
}

func newBench(t *testing.T, more ...knative.Service) *bench {
	t.Helper()
	return newBenchOn(t, knative.BaseName, more...)
}

// newBenchOn is newBench with the wiring of an overlay.
func newBenchOn(t *testing.T, overlay string, more ...knative.Service) *bench {
	t.Helper()
	return newBenchWith(t, overlay, func(*console.Options) {}, more...)
}

// newBenchWith is newBenchOn with other options of the console.
func newBenchWith(t *testing.T, overlay string, change func(*console.Options), more ...knative.Service) *bench {
	t.Helper()
	b := &bench{t: t, server: mysqltest.Server(t), cluster: kafkatest.Start(t), metrics: exposition.New().Metrics, mux: http.NewServeMux()}
	wiring, err := knative.LoadOverlay(knative.Manifests(), overlay)
	require.NoError(t, err)
	wiring.Services = append(wiring.Services, more...)
	wiring, err = wiring.WithTopicPrefix(b.cluster.Prefix)
	require.NoError(t, err)
	require.NoError(t, kafka.EnsureTopics(t.Context(), b.cluster.Brokers, wiring.Topics))
	b.url = functiontest.Serve(t, b.mux.ServeHTTP)
	options := console.Options{
		Wiring: wiring, TopicPrefix: b.cluster.Prefix, Brokers: b.cluster.Brokers,
		Open:         func(name string) (*sql.DB, error) { return b.pool(name), nil },
		FunctionsURL: b.url + "/functions/{consumer}", TraceURL: "http://traces.example/trace/{trace}",
		Audit: b.report.Load, Metrics: b.metrics, Log: slog.New(slog.DiscardHandler),
	}
	change(&options)
	b.console, err = console.New(options)
	require.NoError(t, err)
	b.console.Register(b.mux)
	b.mux.HandleFunc("/functions/notify", func(w http.ResponseWriter, r *http.Request) {
		if handle := b.notify.Load(); handle != nil {
			(*handle)(w, r)
		}
	})
	t.Cleanup(func() { assert.NoError(t, b.console.Close(context.Background())) }) // before the server, which waits for the streams
	return b
}

func (b *bench) pool(name string) *sql.DB { return mysqltest.Pool(b.t, b.server, name) }

// do sends a request and reads the JSON of a successful answer.
func (b *bench) do(method, path, body string, answer any) (int, string) {
	b.t.Helper()
	request, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, strings.NewReader(body))
	require.NoError(b.t, err)
	request.Header.Set("Content-Type", "application/json")
	if b.token != "" {
		request.Header.Set("Authorization", "Bearer "+b.token)
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(b.t, err)
	defer func() { assert.NoError(b.t, response.Body.Close()) }()
	text, err := io.ReadAll(response.Body)
	require.NoError(b.t, err)
	if answer != nil {
		require.Equal(b.t, http.StatusOK, response.StatusCode, string(text))
		require.NoError(b.t, json.Unmarshal(text, answer), string(text))
	}
	return response.StatusCode, string(text)
}

// watch reads a view until its data matches, and returns it.
func watch[T any](b *bench, name string, is func(T) bool) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url+"/console/events?view="+name, nil)
	require.NoError(b.t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(b.t, err)
	defer func() { _ = response.Body.Close() }()
	require.Equal(b.t, "text/event-stream", response.Header.Get("Content-Type"))
	last := ""
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		text, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var message struct {
			View  string `json:"view"`
			Data  T      `json:"data"`
			Error string `json:"error"`
		}
		require.NoError(b.t, json.Unmarshal([]byte(text), &message), text)
		if message.View == "" {
			continue // a beat
		}
		require.Empty(b.t, message.Error)
		if last = text; is(message.Data) {
			return message.Data
		}
	}
	require.Fail(b.t, "the view never was as it shall be", last)
	panic("not reached")
}

func TestPagesAreServedAndKeepToThemselves(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{"/", "/orders", "/orders/01a2131d-19f5-73f3-957a-f504bf20da07", "/stock", "/payments", "/outbox", "/deadletters", "/audit", "/docs", "/docs/cloudevents", "/docs/events", "/docs/events/order.created", "/console/static/app.js", "/console/static/console.css"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.url+path, nil)
		require.NoError(t, err)
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, http.StatusOK, response.StatusCode, path)
		policy := response.Header.Get("Content-Security-Policy")
		assert.Contains(t, policy, "default-src 'none'; script-src 'self'; style-src 'self'")
		assert.NotContains(t, policy, "unsafe")
		assert.Equal(t, "nosniff", response.Header.Get("X-Content-Type-Options"))

		request.Header.Set("If-None-Match", response.Header.Get("ETag"))
		response, err = http.DefaultClient.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, http.StatusNotModified, response.StatusCode, path)
	}
	status, _ := b.do(http.MethodGet, "/console/static/lost.js", "", nil)
	assert.Equal(t, http.StatusNotFound, status)
	status, text := b.do(http.MethodGet, "/openapi.json", "", nil)
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, text, `"openapi":"3.1.0"`)
}

// TestNothingOfThePagesIsInlineOrFromElsewhere checks that the pages have nothing that the policy would block in a browser,
// and that no text becomes markup.
func TestNothingOfThePagesIsInlineOrFromElsewhere(t *testing.T) {
	files, err := filepath.Glob("static/*")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		text, err := fs.ReadFile(os.DirFS("."), file)
		require.NoError(t, err)
		for _, never := range map[string][]string{
			".html": {`<style`, `\sstyle=`, `\son[a-z]+=`, `<script[^>]*></script>\s*\S*[^<]<script`, `(src|href)="(https?:)?//`, `<script(\s[^>]*)?>[^<]`},
			".js":   {`innerHTML`, `outerHTML`, `insertAdjacentHTML`, `document\.write`, `\beval\(`, `new Function`, `from '(https?:)?//`, `setAttribute\('style`, `style: '[^']*:`},
			".css":  {`@import`, `url\(`},
		}[filepath.Ext(file)] {
			assert.NotRegexp(t, never, string(text), file)
		}
	}
}

func TestEveryFactIsDrawn(t *testing.T) {
	b := newBenchOn(t, "payment")
	var drawn struct {
		Functions []struct{ Name, Starts string }
		Topics    []struct{ Name string }
		Emits     []struct{ Function, Topic string } `json:"tells"`
		Handles   []struct{ Topic, Function, Group, DeadLetter string }
	}
	b.do(http.MethodGet, "/console/topology", "", &drawn)
	starts, topics, emitted := map[string]string{}, map[string]bool{}, map[string]bool{}
	var reactions []string
	for _, f := range drawn.Functions {
		starts[f.Name] = f.Starts
		if f.Starts == "" {
			reactions = append(reactions, f.Name)
		}
	}
	for _, topic := range drawn.Topics {
		topics[topic.Name] = true
	}
	for _, e := range drawn.Emits {
		assert.Contains(t, starts, e.Function)
		emitted[e.Topic] = true
	}
	for _, handle := range drawn.Handles {
		assert.Contains(t, starts, handle.Function)
		assert.True(t, topics[handle.Topic], handle.Topic)
		assert.Equal(t, handle.Topic+".dlq", handle.DeadLetter)
	}
	for _, eventType := range events.Types() {
		assert.True(t, topics[eventType], "%s has no topic", eventType)
		assert.True(t, emitted[eventType], "%s has no known producer: add it to emits", eventType)
	}
	assert.Subset(t, reactions, []string{"authorize-payment", "refund-payment", "reserve-stock", "release-stock", "finalize-order", "notify"})
	for _, name := range reactions {
		delete(starts, name)
	}
	assert.Equal(t, map[string]string{"create-order": "http", "cancel-order": "http", "expire-orders": "clock"}, starts)
}

func TestTheCatalogueHasEveryEventAndWhoEmitsAndHandlesIt(t *testing.T) {
	b := newBenchOn(t, "payment")
	var all []struct {
		Type, Source, SentTo, Says string
		Versions                   []struct{ Schema, Example map[string]any }
		Producers                  []string
		Consumers                  []struct{ Function, Group, DeadLetter string }
	}
	b.do(http.MethodGet, "/console/catalogue", "", &all)
	types := map[string]int{}
	for i, e := range all {
		types[e.Type] = i
		assert.NotEmpty(t, e.Says, e.Type)
		require.NotEmpty(t, e.Versions, e.Type)
		for _, v := range e.Versions {
			assert.Contains(t, v.Schema["$id"], e.Type)
		}
		if e.SentTo == "" {
			assert.Equal(t, e.Type, e.Versions[0].Example["eventType"])
			assert.NotEmpty(t, e.Producers, e.Type)
			assert.NotEmpty(t, e.Source, e.Type)
		}
	}
	for _, eventType := range events.Types() {
		assert.Contains(t, types, eventType)
	}
	assert.Equal(t, []string{"authorize-payment"}, all[types["payment.declined"]].Producers)
	failed := all[types["order.failed"]]
	assert.ElementsMatch(t, []string{"finalize-order", "expire-orders"}, failed.Producers)
	require.NotEmpty(t, failed.Consumers)
	assert.Equal(t, "order.failed.dlq", failed.Consumers[0].DeadLetter, "as the wiring has it, without the prefix")
	assert.Equal(t, "create-order", all[types[events.OrderCreateType]].SentTo)
}

func TestTheCatalogueHasOnlyEventsOfTheWiring(t *testing.T) {
	b := newBench(t)
	var all []struct{ Type string }
	b.do(http.MethodGet, "/console/catalogue", "", &all)
	for _, e := range all {
		assert.NotContains(t, e.Type, "payment.", "they are of an overlay")
	}
	assert.Contains(t, all, struct{ Type string }{"order.created"})
}

// record is a fact as it is in a topic.
func record(t *testing.T, topic string, e event.Event, more ...sarama.RecordHeader) *sarama.ProducerMessage {
	t.Helper()
	m, err := kafka.Encode(t.Context(), e)
	require.NoError(t, err)
	m.Topic = topic
	m.Headers = append(m.Headers, more...)
	return m
}

func (b *bench) write(messages ...*sarama.ProducerMessage) {
	b.t.Helper()
	producer := kafka.NewProducer(b.cluster.Brokers, "", slog.New(slog.DiscardHandler))
	defer func() { assert.NoError(b.t, producer.Close()) }()
	for _, m := range messages {
		require.Equal(b.t, []error{nil}, producer.Write(b.t.Context(), []*sarama.ProducerMessage{m}))
	}
}

func TestTheFlowHasTheNumbersOfEachArrow(t *testing.T) {
	b := newBench(t)
	b.metrics.CountDeadLetter(b.cluster.Prefix+"order.created", "reserve-stock", metrics.Poison)
	b.metrics.CountLost(b.cluster.Prefix+"order.created", "reserve-stock", 7)
	for range 3 {
		b.write(record(t, b.cluster.Prefix+"order.created", functiontest.Event(t, functiontest.Created(t, events.Item{SKU: "A", Quantity: 1, UnitPrice: 1}), 1)))
	}
	type flow struct {
		Topics  map[string]struct{ Total int }
		Sources map[string]struct {
			Lag, Open, Lost int
			Reasons         map[string]int
		}
	}
	b.setAside("503: the mail server is away")
	watch(b, "openletters", func(l struct{ Open int }) bool { return l.Open == 1 })
	f := watch(b, "flow", func(f flow) bool { return f.Topics["order.created"].Total == 3 })
	assert.Equal(t, 3, f.Sources["reserve-stock.order.created"].Lag)
	assert.Zero(t, f.Sources["reserve-stock.order.created"].Open, "what it set aside is no longer there")
	assert.Equal(t, 1, f.Sources["notify.order.confirmed"].Open)
	assert.Equal(t, map[string]int{metrics.Poison: 1}, f.Sources["reserve-stock.order.created"].Reasons)
	assert.Equal(t, 7, f.Sources["reserve-stock.order.created"].Lost)
	assert.Zero(t, f.Sources["notify.order.failed"].Lag)
}

// store puts facts into the outbox of a schema.
func (b *bench) store(name string, facts ...event.Event) {
	b.t.Helper()
	outboxtest.Store(b.t, b.pool(name), time.Now().UTC(), facts...)
}

func TestAnOrderIsShownAsATimeline(t *testing.T) {
	b := newBench(t)
	id := functiontest.OrderID()
	functiontest.Order(t, b.pool(schema.Orders), id, orders.OrdersStatusCONFIRMED)
	items := []events.Item{{SKU: "SKU-123", Quantity: 2, UnitPrice: 1299}}
	created := functiontest.Event(t, events.OrderCreatedV1{OrderID: id, CustomerEmail: "alice@example.com", Items: items, TotalAmount: 2598, CreatedAt: time.Now()}, 1)
	reserved, err := events.New(events.InventoryReserved{OrderID: id, Reservations: []events.Quantity{{SKU: "SKU-123", Quantity: 2}}}, 1, time.Now(), events.CauseOf(created))
	require.NoError(t, err)
	confirmed, err := events.New(events.OrderConfirmed{OrderID: id, CustomerEmail: "alice@example.com", TotalAmount: 2598, CreatedAt: time.Now()}, 2, time.Now(), events.CauseOf(reserved))
	require.NoError(t, err)
	other := functiontest.Event(t, functiontest.Created(t, items...), 1)
	b.store(schema.Orders, other, created)
	b.store(schema.Inventory, reserved)
	b.store(schema.Orders, confirmed)
	err = messaging.New(b.pool(schema.Inventory)).InsertHandled(t.Context(), messaging.InsertHandledParams{
		Consumer: "reserve-stock", Source: created.Source(), EventID: created.ID(), ProcessedAt: time.Now(),
	})
	require.NoError(t, err)

	type page struct {
		OrderID, Status, CorrelationID string
		Steps                          []struct {
			Function, Type, ID, CorrelationID, CausationID, StoredAt, SentAt string
			Deliveries                                                       []struct{ Function, At string }
			Event                                                            map[string]any
		}
	}
	p := watch(b, "order:"+id, func(p page) bool { return len(p.Steps) == 3 })
	assert.Equal(t, []string{id, "CONFIRMED", functiontest.OrderCorrelationID}, []string{p.OrderID, p.Status, p.CorrelationID})
	var emitted []string
	for _, s := range p.Steps {
		emitted = append(emitted, s.Function+" "+s.Type)
		assert.Equal(t, functiontest.CorrelationID, s.CorrelationID)
		assert.NotEmpty(t, s.StoredAt)
		assert.Equal(t, s.ID, s.Event["id"])
		assert.Equal(t, "1.0", s.Event["specversion"])
	}
	assert.Equal(t, []string{"create-order order.created", "reserve-stock inventory.reserved", "finalize-order order.confirmed"}, emitted)
	require.NotEmpty(t, p.Steps[0].Deliveries)
	assert.Equal(t, "reserve-stock", p.Steps[0].Deliveries[0].Function)
	assert.NotEmpty(t, p.Steps[0].Deliveries[0].At)
	assert.Empty(t, p.Steps[1].Deliveries[0].At, "finalize-order has not handled it")
	assert.Equal(t, created.ID(), p.Steps[1].CausationID)
}

func TestAMissingOrderIsNil(t *testing.T) {
	b := newBench(t)
	assert.Nil(t, watch(b, "order:"+functiontest.OrderID(), func(any) bool { return true }))
}

func TestOrdersAreListedByOneQueryOfAFewRows(t *testing.T) {
	b := newBench(t)
	db := b.pool(schema.Orders)
	for range 60 {
		functiontest.Order(t, db, functiontest.OrderID(), orders.OrdersStatusCONFIRMED)
	}
	failed := functiontest.OrderID()
	functiontest.Order(t, db, failed, orders.OrdersStatusFAILED)
	type line struct{ OrderID, Status string }
	all := watch(b, "orders", func(all []line) bool { return len(all) > 0 })
	assert.Len(t, all, 50)
	assert.Equal(t, failed, all[0].OrderID)
	assert.Equal(t, []line{{failed, "FAILED"}}, watch(b, "orders:FAILED", func(all []line) bool { return len(all) > 0 }))
	assert.Equal(t, map[string]int{"PENDING": 0, "CONFIRMED": 60, "FAILED": 1, "CANCELED": 0}, watch(b, "counts", func(map[string]int) bool { return true }))
}

// result is the result of an action.
type result struct {
	What   string
	OK     bool
	Detail string
}

func TestParkedRowsAreRequeuedAfterADryRunAndRecorded(t *testing.T) {
	b := newBench(t)
	fact := functiontest.Event(t, functiontest.Created(t, events.Item{SKU: "A", Quantity: 1, UnitPrice: 1}), 1)
	b.store(schema.Orders, fact)
	_, err := b.pool(schema.Orders).ExecContext(t.Context(), "UPDATE outbox SET status = 'ERROR', attempts = 10, last_error = 'too large'")
	require.NoError(t, err)
	type rows struct {
		Rows []struct {
			Schema, State, LastError string
			ID                       int
		}
		Actions []struct{ Actor, Action, What, Detail, Result string }
	}
	row := watch(b, "outbox:parked", func(r rows) bool { return len(r.Rows) == 1 }).Rows[0]
	assert.Equal(t, "too large", row.LastError)
	var full struct{ Event map[string]any }
	b.do(http.MethodGet, fmt.Sprintf("/console/outbox/orders/%d", row.ID), "", &full)
	assert.Equal(t, fact.ID(), full.Event["id"])
	_, err = b.pool(schema.Orders).ExecContext(t.Context(), "UPDATE outbox SET headers = 'no JSON'")
	require.NoError(t, err)
	var broken struct {
		Event            map[string]any
		Headers, Payload string
	}
	b.do(http.MethodGet, fmt.Sprintf("/console/outbox/orders/%d", row.ID), "", &broken)
	assert.Nil(t, broken.Event)
	assert.Equal(t, []string{"no JSON", string(fact.Data())}, []string{broken.Headers, broken.Payload}, "undecodable data is shown as it is")

	change := func(action string, dry bool) (answer []result) {
		b.do(http.MethodPost, "/console/outbox", fmt.Sprintf(`{"action":%q,"reason":"larger now","actor":"carol","dryRun":%t,"rows":[{"schema":"orders","id":%d}]}`, action, dry, row.ID), &answer)
		return answer
	}
	what := fmt.Sprint("orders ", row.ID)
	assert.Equal(t, []result{{what, true, "would be requeued"}}, change("requeue", true))
	assert.Len(t, watch(b, "outbox:parked", func(rows) bool { return true }).Rows, 1, "a dry run does nothing")
	assert.Equal(t, []result{{what, true, "requeued"}}, change("requeue", false))
	assert.False(t, change("discard", true)[0].OK, "it waits now")
	assert.False(t, change("discard", false)[0].OK)
	after := watch(b, "outbox:waiting", func(r rows) bool { return len(r.Rows) == 1 })
	require.Len(t, after.Actions, 2)
	assert.Equal(t, "DISCARD", after.Actions[0].Action)
	assert.Equal(t, []string{"REQUEUE", "carol (console at 127.0.0.1)", what, "larger now", "done"},
		[]string{after.Actions[1].Action, after.Actions[1].Actor, after.Actions[1].What, after.Actions[1].Detail, after.Actions[1].Result})
}

func TestEveryOutboxOfTheWiringIsShown(t *testing.T) {
	b := newBench(t, knative.Service{Name: "publish-outbox-billing", Env: map[string]string{"OUTBOX_SCHEMA": "billing"}})
	billing := outboxtest.Another(t, b.server, "billing")
	fact := functiontest.Event(t, functiontest.Created(t, events.Item{SKU: "A", Quantity: 1, UnitPrice: 1}), 1)
	b.store("billing", fact)
	_, err := billing.ExecContext(t.Context(), "UPDATE outbox SET status = 'ERROR', last_error = 'too large'")
	require.NoError(t, err)
	type rows struct {
		Rows []struct {
			Schema string
			ID     int
		}
		Outboxes map[string]struct{ Waiting int }
	}
	shown := watch(b, "outbox:parked", func(r rows) bool { return len(r.Rows) == 1 })
	assert.Equal(t, "billing", shown.Rows[0].Schema)
	assert.Equal(t, 1, shown.Outboxes["billing"].Waiting)
	var full struct{ Event map[string]any }
	b.do(http.MethodGet, fmt.Sprintf("/console/outbox/billing/%d", shown.Rows[0].ID), "", &full)
	assert.Equal(t, fact.ID(), full.Event["id"])
}

func TestInvalidRequestsAreRefused(t *testing.T) {
	b := newBench(t)
	place := `{"topic":"` + b.cluster.Prefix + `order.created.dlq","partition":0,"offset":0}`
	for name, c := range map[string]struct {
		method, path, body string
		status             int
	}{
		"no view":                   {"GET", "/console/events", "", 400},
		"an unknown view":           {"GET", "/console/events?view=secrets", "", 400},
		"too many views":            {"GET", "/console/events?view=flow&view=stock&view=audit&view=counts&view=orders&view=outbox:new&view=outbox:sent&view=outbox:parked&view=outbox:waiting", "", 400},
		"an unknown action":         {"POST", "/console/deadletters", `{"action":"delete","letters":[` + place + `]}`, 400},
		"an unknown letter filter":  {"GET", "/console/events?view=deadletters:color=red", "", 400},
		"an unknown letter state":   {"GET", "/console/events?view=deadletters:state=lost", "", 400},
		"a page that is no number":  {"GET", "/console/events?view=deadletters:page=0", "", 400},
		"a filter that is none":     {"POST", "/console/deadletters", `{"action":"park","filter":"color=red"}`, 400},
		"a correction of nothing":   {"POST", "/console/deadletters/correct", `{"topic":"` + b.cluster.Prefix + `order.created.dlq","partition":0,"offset":0,"value":"{}"}`, 404},
		"a stop of no job":          {"POST", "/console/deadletters/jobs/7/stop", `{}`, 404},
		"no letters":                {"POST", "/console/deadletters", `{"action":"park","letters":[]}`, 400},
		"an unknown field":          {"POST", "/console/deadletters", `{"action":"park","letters":[` + place + `],"force":true}`, 400},
		"another media type":        {"POST", "/console/deadletters", "", 400},
		"a topic of events":         {"POST", "/console/deadletters", `{"action":"park","letters":[{"topic":"` + b.cluster.Prefix + `order.created","partition":0,"offset":0}]}`, 404},
		"a letter that is not":      {"POST", "/console/deadletters", `{"action":"park","letters":[` + place + `]}`, 404},
		"a letter that is no place": {"GET", "/console/deadletters/x/y/z", "", 404},
		"a row of no outbox":        {"POST", "/console/outbox", `{"action":"requeue","rows":[{"schema":"mysql","id":1}]}`, 400},
		"a row that is not":         {"GET", "/console/outbox/orders/1", "", 404},
		"a row of another schema":   {"GET", "/console/outbox/notifications/1", "", 404},
		"a reason that is a book":   {"POST", "/console/outbox", `{"action":"requeue","reason":"` + strings.Repeat("x", 501) + `","rows":[{"schema":"orders","id":1}]}`, 400},
	} {
		t.Run(name, func(t *testing.T) {
			status, text := b.do(c.method, c.path, c.body, nil)
			assert.Equal(t, c.status, status, text)
		})
	}
}

func TestTheLastAuditIsShown(t *testing.T) {
	b := newBench(t)
	assert.Nil(t, watch(b, "audit", func(any) bool { return true }))
	b.report.Store(&audit.Report{At: time.Now(), Invariants: []*audit.Invariant{{Name: audit.Once, Says: "once", Breached: 2}}})
	type report struct {
		Breaches   int
		Invariants []struct{ Name string }
		Exceptions []any
	}
	r := watch(b, "audit", func(r report) bool { return len(r.Invariants) == 1 })
	assert.Equal(t, 2, r.Breaches)
	assert.NotNil(t, r.Exceptions, "a list, though it is empty")
}

func TestTheStockIsShown(t *testing.T) {
	b := newBench(t)
	_, err := b.pool(schema.Inventory).ExecContext(t.Context(), "INSERT INTO inventory (sku, available_qty, reserved_qty, version, updated_at) VALUES ('A', 7, 3, 1, NOW(6))")
	require.NoError(t, err)
	type stock struct {
		Levels []struct {
			SKU                       string
			AvailableQty, ReservedQty int
		}
		More bool
	}
	s := watch(b, "stock", func(s stock) bool { return len(s.Levels) == 1 })
	assert.Equal(t, 7, s.Levels[0].AvailableQty)
	assert.Equal(t, 3, s.Levels[0].ReservedQty)
	assert.False(t, s.More)
}
