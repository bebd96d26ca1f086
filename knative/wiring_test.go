package knative

import (
	"maps"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/sql/schema"
)

func load(t *testing.T) *Wiring {
	t.Helper()
	w, err := Load(Base())
	require.NoError(t, err)
	return w
}

// wirings has the base, by the name "", and all overlays.
func wirings(t *testing.T) map[string]*Wiring {
	t.Helper()
	all := map[string]*Wiring{"": load(t)}
	for _, name := range Overlays() {
		w, err := LoadOverlay(Manifests(), name)
		require.NoError(t, err)
		all[name] = w
	}
	return all
}

// routes has the functions that get each event.
func routes(w *Wiring) map[string][]string {
	all := map[string][]string{}
	for _, topic := range w.Topics {
		if !strings.HasSuffix(topic.Name, DeadLetterSuffix) {
			all[topic.Name] = []string{}
		}
	}
	for _, s := range w.Sources {
		all[s.Topic] = append(all[s.Topic], s.Sink)
	}
	return all
}

const knativeReadme, eventsReadme = "README.md", "../events/README.md"

// The tables of both READMEs say by hand which functions get an event: the wiring is held against them.
func TestBaseRoutesEachTopicToItsFunctions(t *testing.T) {
	for file, heading := range map[string]string{
		knativeReadme: "| topic | consumers |", eventsReadme: "| type, in its newest version | source | producers | when | consumers |",
	} {
		assert.Equal(t, routes(load(t)), said(t, file, heading), file)
	}
}

// TestOverlaysRouteTopicsAsTheirTablesSay compares the tables of what an overlay adds or changes.
func TestOverlaysRouteTopicsAsTheirTablesSay(t *testing.T) {
	base := routes(load(t))
	for _, name := range Routings() {
		changed, added := map[string][]string{}, map[string][]string{}
		for topic, sinks := range routes(wirings(t)[name]) {
			before, there := base[topic]
			slices.Sort(sinks) // the tables have the order in which functions were added, to the base or to the overlay
			slices.Sort(before)
			if !there {
				added[topic] = sinks
			}
			if !there || !assert.ObjectsAreEqual(before, sinks) {
				changed[topic] = sinks
			}
		}
		table := said(t, knativeReadme, "| topic, overlay "+name+" | consumers |")
		for _, sinks := range table {
			slices.Sort(sinks)
		}
		assert.Equal(t, changed, table, name)
		assert.Equal(t, added, said(t, eventsReadme, "| type, in its newest version, overlay "+name+" | source | producers | when | consumers |"), name)
	}
}

var linked = regexp.MustCompile(`\[(.*)\]\(.*\)`)

// said reads a table of a README: the types in the first cell of each row, and the functions in its last.
func said(t *testing.T, file, heading string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	_, table, found := strings.Cut(string(text), "\n"+heading+"\n")
	require.True(t, found, "%s has no table %s", file, heading)
	table, _, _ = strings.Cut(table, "\n\n")
	routes := map[string][]string{}
	for _, row := range strings.Split(table, "\n")[1:] {
		cells := strings.Split(strings.Trim(row, "| "), " | ")
		functions := []string{}
		if last := cells[len(cells)-1]; last != "none yet" {
			functions = strings.Split(last, ", ")
		}
		for topic := range strings.SplitSeq(cells[0], ", ") {
			routes[linked.ReplaceAllString(topic, "$1")] = functions
		}
	}
	return routes
}

func TestEventsAreDeliveredWithRetriesForTenMinutes(t *testing.T) {
	for _, s := range sources(t) {
		assert.Equal(t, KafkaSource{
			Name: s.Sink + "." + s.Topic, Namespace: "orders", Group: s.Sink + "." + s.Topic, Topic: s.Topic,
			Consumers: 4, Sink: s.Sink, Extensions: map[string]string{"consumer": s.Sink},
			Delivery: Delivery{
				Retry: 10, Exponential: true, Delay: 300 * time.Millisecond, Timeout: 30 * time.Second,
				DeadLetter: s.Topic + ".dlq",
			},
		}, s)
		assert.Equal(t, 613800*time.Millisecond, s.Delivery.waits())
	}
}

// sources lists the KafkaSources of all wirings.
func sources(t *testing.T) (all []KafkaSource) {
	t.Helper()
	for _, w := range wirings(t) {
		all = append(all, w.Sources...)
	}
	return all
}

// deployment is what the wiring says of a Service.
type deployment struct {
	function string
	public   bool
	env      map[string]string
}

// pokes is the environment of a function with an outbox in a schema, and with more variables.
func pokes(schema string, more ...string) map[string]string {
	env := map[string]string{"OUTBOX_POKE_URL": "http://publish-outbox-" + schema + ".orders.svc.cluster.local"}
	for i := 0; i < len(more); i += 2 {
		env[more[i]] = more[i+1]
	}
	return env
}

func TestEachFunctionIsDeployed(t *testing.T) {
	none := map[string]string{}
	base := map[string]deployment{
		"orders-api":     {"ordersapi", true, pokes("orders", "ORDER_CREATED_VERSION", "1", "ADMIT_MAX_WAIT", "0")},
		"create-order":   {"createorder", true, pokes("orders", "ORDER_CREATED_VERSION", "1", "ADMIT_MAX_WAIT", "0")},
		"cancel-order":   {"cancelorder", false, pokes("orders")},
		"inventory-api":  {"inventoryapi", true, none},
		"reserve-stock":  {"reservestock", false, pokes("inventory")},
		"release-stock":  {"releasestock", false, pokes("inventory", "RESERVATION_LOG_RETENTION", "960h")},
		"finalize-order": {"finalizeorder", false, pokes("orders")},
		"expire-orders":  {"expireorders", false, pokes("orders", "SAGA_TIMEOUT", "15m")},
		"notify":         {"notify", false, map[string]string{"MAIL_LINGER": "200ms", "RETAIN_NOTIFICATIONS": "960h"}},
	}
	payment := map[string]deployment{
		"authorize-payment": {"authorizepayment", false, pokes("payments", "PAYMENT_GATEWAY", "simulated")},
		"refund-payment":    {"refundpayment", false, pokes("payments", "PAYMENT_GATEWAY", "simulated")},
	}
	added := map[string]map[string]deployment{"payment": payment, "cdc-payment": payment}
	for name, w := range wirings(t) {
		want := maps.Clone(base)
		maps.Copy(want, added[name])
		for _, schema := range outboxes[name] {
			env := map[string]string{"OUTBOX_SCHEMA": schema, PublisherVariable: "relay", "OUTBOX_RETENTION": "192h", "INBOX_RETENTION": "960h"}
			if w.Captures() {
				env[PublisherVariable] = CDCPublisher
			}
			want["publish-outbox-"+schema] = deployment{"publishoutbox", false, env}
		}
		services := map[string]deployment{}
		for _, s := range w.Services {
			env := maps.Clone(s.Env)
			delete(env, "SINK_SUBJECTS") // see senders_test.go
			services[s.Name] = deployment{s.Function, s.Public, env}
		}
		assert.Equal(t, want, services, name)
	}
}

// outboxes has the schemas that are published, by the name of the wiring.
var outboxes = map[string][]string{"": unpaid, "cdc": unpaid, "payment": schema.WithOutbox, "cdc-payment": schema.WithOutbox}

var unpaid = slices.DeleteFunc(slices.Clone(schema.WithOutbox), func(name string) bool { return name == "payments" })

func TestSweepsAndPurgesAreScheduled(t *testing.T) {
	const json, purge = "application/json", `{"purge":true}`
	const everyTwo = "*/2 * * * * *"
	payment := []PingSource{
		{"authorize-payment-sweep", "orders", everyTwo, "", "", "authorize-payment"},
		{"refund-payment-sweep", "orders", everyTwo, "", "", "refund-payment"},
	}
	added := map[string][]PingSource{"payment": payment, "cdc-payment": payment}
	for name, w := range wirings(t) {
		want := append([]PingSource{
			{"expire-orders", "orders", "*/10 * * * * *", "", "", "expire-orders"},
			{"notify-purge", "orders", "0 */10 * * * *", json, purge, "notify"},
			{"release-stock-purge", "orders", "0 */10 * * * *", json, purge, "release-stock"},
		}, added[name]...)
		for _, schema := range outboxes[name] {
			relay := "publish-outbox-" + schema
			want = append(want, PingSource{relay + "-sweep", "orders", everyTwo, "", "", relay},
				PingSource{relay + "-purge", "orders", "30 * * * * *", json, purge, relay})
		}
		assert.ElementsMatch(t, want, w.Pings, name)
	}
}

func TestTopicsAndDeadLettersAreDeclared(t *testing.T) {
	const week, month = "604800000", "2592000000"
	declared := map[string]bool{}
	for name, w := range wirings(t) {
		want := map[string]string{}
		for _, eventType := range events.Types() {
			if slices.ContainsFunc(w.Topics, func(topic Topic) bool { return topic.Name == eventType }) {
				want[eventType], declared[eventType] = week, true
			}
		}
		for _, s := range w.Sources {
			want[s.Topic+DeadLetterSuffix] = month
		}
		kept := map[string]string{}
		for _, topic := range w.Topics {
			kept[topic.Name] = topic.Config["retention.ms"]
			assert.EqualValues(t, 3, topic.Partitions)
			assert.EqualValues(t, 3, topic.Replicas)
		}
		assert.Equal(t, want, kept, name)
		sinks := map[string]bool{}
		for _, sink := range w.Sinks {
			assert.Equal(t, sink.Name, sink.Topic)
			sinks[sink.Topic] = true
		}
		for _, s := range w.Sources {
			assert.True(t, sinks[s.Delivery.DeadLetter], "%s has no KafkaSink", s.Delivery.DeadLetter)
		}
		assert.Len(t, sinks, len(letters(w)), "relays publish to the brokers")
	}
	assert.ElementsMatch(t, events.Types(), slices.Collect(maps.Keys(declared)), "each event has a topic, of the base or of an overlay")
}

// letters has the dead-letter topics of a wiring.
func letters(w *Wiring) map[string]bool {
	topics := map[string]bool{}
	for _, s := range w.Sources {
		topics[s.Delivery.DeadLetter] = true
	}
	return topics
}

func TestBackoffWaitsAsKnativeDoes(t *testing.T) {
	exponential := Delivery{Exponential: true, Delay: 300 * time.Millisecond}
	assert.Equal(t, 600*time.Millisecond, exponential.Backoff(1))
	assert.Equal(t, 1200*time.Millisecond, exponential.Backoff(2))
	assert.Equal(t, 307200*time.Millisecond, exponential.Backoff(10))
	assert.Equal(t, time.Duration(math.MaxInt64), exponential.Backoff(5000))

	linear := Delivery{Delay: 300 * time.Millisecond}
	assert.Equal(t, 300*time.Millisecond, linear.Backoff(1))
	assert.Equal(t, 900*time.Millisecond, linear.Backoff(3))
}

func TestDurationsAreISO8601AndPositive(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"PT0.3S": 300 * time.Millisecond, "PT30S": 30 * time.Second, "PT1M30S": 90 * time.Second,
		"PT2H": 2 * time.Hour, "P1D": 24 * time.Hour, "P1DT1S": 24*time.Hour + time.Second,
	} {
		got, err := parseDuration(text)
		assert.NoError(t, err)
		assert.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "P", "PT", "P1DT", "PT0S", "PT-1S", "-PT1S", "0.3s", "PT.3S", "P1Y", "P1M", "PT1S ", "PT0.0000000001S", "P999999999D"} {
		_, err := parseDuration(text)
		assert.ErrorContains(t, err, "write it like", text)
	}
}

func TestTopicPrefixIsBeforeEveryTopicAndGroup(t *testing.T) {
	plain, err := Load(Base())
	require.NoError(t, err)

	prefixed, err := plain.WithTopicPrefix("t1.")

	require.NoError(t, err)
	for i, topic := range plain.Topics {
		assert.Equal(t, "t1."+topic.Name, prefixed.Topics[i].Name)
	}
	for i, source := range plain.Sources {
		assert.Equal(t, "t1."+source.Topic, prefixed.Sources[i].Topic)
		assert.Equal(t, "t1."+source.Group, prefixed.Sources[i].Group)
		assert.Equal(t, "t1."+source.Delivery.DeadLetter, prefixed.Sources[i].Delivery.DeadLetter)
	}
	for i, sink := range plain.Sinks {
		assert.Equal(t, "t1."+sink.Topic, prefixed.Sinks[i].Topic)
	}
	_, err = plain.WithTopicPrefix("no space")
	assert.ErrorContains(t, err, "no space")
}
