package knative

import (
	"math"
	"os"
	"regexp"
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

// The tables of both READMEs say by hand which functions get an event: the wiring is held against them.
func TestBaseRoutesEachTopicToItsFunctions(t *testing.T) {
	w := load(t)
	routes := map[string][]string{}
	for _, topic := range w.Topics {
		if !strings.HasSuffix(topic.Name, deadLetterSuffix) {
			routes[topic.Name] = []string{}
		}
	}
	for _, s := range w.Sources {
		routes[s.Topic] = append(routes[s.Topic], s.Sink)
	}
	for file, heading := range map[string]string{
		"README.md": "| topic | consumers |", "../events/README.md": "| type, version 1 | source | producers | when | consumers |",
	} {
		assert.Equal(t, routes, said(t, file, heading), file)
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

func TestBaseDeliversWithRetriesForTenMinutes(t *testing.T) {
	for _, s := range load(t).Sources {
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

func TestBaseDeploysEachFunction(t *testing.T) {
	type deployed struct {
		function string
		public   bool
		env      map[string]string
	}
	services := map[string]deployed{}
	for _, s := range load(t).Services {
		services[s.Name] = deployed{s.Function, s.Public, s.Env}
	}
	none := map[string]string{}
	pokes := func(schema string, more ...string) map[string]string {
		env := map[string]string{"OUTBOX_POKE_URL": "http://publish-outbox-" + schema + ".orders.svc.cluster.local"}
		for i := 0; i < len(more); i += 2 {
			env[more[i]] = more[i+1]
		}
		return env
	}
	relay := func(schema string) map[string]string {
		return map[string]string{"OUTBOX_SCHEMA": schema, "OUTBOX_RETENTION": "192h", "INBOX_RETENTION": "960h"}
	}
	want := map[string]deployed{
		"orders-api":     {"ordersapi", true, pokes("orders")},
		"create-order":   {"createorder", true, pokes("orders")},
		"cancel-order":   {"cancelorder", false, pokes("orders")},
		"inventory-api":  {"inventoryapi", true, none},
		"reserve-stock":  {"reservestock", false, pokes("inventory")},
		"release-stock":  {"releasestock", false, pokes("inventory", "RESERVATION_LOG_RETENTION", "960h")},
		"finalize-order": {"finalizeorder", false, pokes("orders")},
		"expire-orders":  {"expireorders", false, pokes("orders", "SAGA_TIMEOUT", "15m")},
		"notify":         {"notify", false, none},
	}
	for _, name := range schema.WithOutbox {
		want["publish-outbox-"+name] = deployed{"publishoutbox", false, relay(name)}
	}
	assert.Equal(t, want, services)
}

func TestBaseSchedulesSweepsAndPurges(t *testing.T) {
	const json, purge = "application/json", `{"purge":true}`
	want := []PingSource{
		{"expire-orders", "orders", "*/10 * * * * *", "", "", "expire-orders"},
		{"release-stock-purge", "orders", "0 */10 * * * *", json, purge, "release-stock"},
	}
	for _, name := range schema.WithOutbox {
		relay := "publish-outbox-" + name
		want = append(want, PingSource{relay + "-sweep", "orders", "*/2 * * * * *", "", "", relay},
			PingSource{relay + "-purge", "orders", "30 * * * * *", json, purge, relay})
	}
	assert.ElementsMatch(t, want, load(t).Pings)
}

func TestBaseDeclaresTopicsAndDeadLetters(t *testing.T) {
	const week, month = "604800000", "2592000000"
	w := load(t)
	want := map[string]string{}
	for _, eventType := range events.Types() {
		want[eventType] = week
	}
	for _, s := range w.Sources {
		want[s.Topic+deadLetterSuffix] = month
	}
	kept := map[string]string{}
	for _, topic := range w.Topics {
		kept[topic.Name] = topic.Config["retention.ms"]
		assert.EqualValues(t, 3, topic.Partitions)
		assert.EqualValues(t, 3, topic.Replicas)
	}
	assert.Equal(t, want, kept)
	sinks := map[string]bool{}
	for _, sink := range w.Sinks {
		assert.Equal(t, sink.Name, sink.Topic)
		sinks[sink.Topic] = true
	}
	for topic := range kept {
		assert.True(t, sinks[topic], "%s has no KafkaSink", topic)
	}
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
