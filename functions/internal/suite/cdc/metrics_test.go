package cdc

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/functions/internal/testkit/servicetest"
	"example.com/orders/sql/schema"
)

// ofConnect is a series that the agent in Kafka Connect serves.
var ofConnect = regexp.MustCompile(`\b(kafka_connect|debezium|jvm)_\w+`)

// queried returns the series of Kafka Connect that dashboards and alerts ask for.
func queried(t *testing.T) map[string]bool {
	t.Helper()
	folder := servicetest.Root(t) + "/functions/harness/observability/"
	files, err := filepath.Glob(folder + "grafana/dashboards/*.json")
	require.NoError(t, err)
	names := map[string]bool{}
	for _, file := range append(files, folder+"rules.yml") {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "expr") {
				for _, name := range ofConnect.FindAllString(line, -1) {
					names[name] = true
				}
			}
		}
	}
	return names
}

// tasksFailed is the series that tells a failed task where nobody may ask Kafka Connect for its state.
const tasksFailed = "kafka_connect_tasks_failed"

// sample is a line with the value of a series, its name and its labels before it.
var sample = regexp.MustCompile(`(?m)^(\w+)(\{.*\})? (\S+)$`)

// scrape returns the values that the agent serves, by the names of their series and their connectors, which are empty for series
// of the process.
func scrape(t *testing.T) map[string]map[string]float64 {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, os.Getenv("CONNECT_METRICS_URL"), http.NoBody)
	require.NoError(t, err)
	a, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer func() { assert.NoError(t, a.Body.Close()) }()
	require.Equal(t, http.StatusOK, a.StatusCode)
	text, err := io.ReadAll(a.Body)
	require.NoError(t, err)
	all := map[string]map[string]float64{}
	for _, of := range sample.FindAllStringSubmatch(string(text), -1) {
		name, labels := of[1], of[2]
		if all[name] == nil {
			all[name] = map[string]float64{}
		}
		connector := ""
		if found := ofConnector.FindStringSubmatch(labels); found != nil {
			connector = found[1]
		}
		all[name][connector], err = strconv.ParseFloat(of[3], 64)
		require.NoError(t, err, of[0])
	}
	return all
}

var ofConnector = regexp.MustCompile(`connector="([^"]*)"`)

func TestKafkaConnectHasTheMetricsThatDashboardsAndAlertsAskFor(t *testing.T) {
	s := startCaptured(t)
	s.store(5)
	large := functiontest.Golden(t, events.OrderCreatedType, 1)
	large.DataEncoded = []byte(`"` + strings.Repeat("x", 1<<20) + `"`)
	outboxtest.Store(t, s.pool(schema.Orders), time.Now(), large)
	s.store(5)
	s.complete()

	names := queried(t)
	assert.Greater(t, len(names), 5)
	of := s.connector.Name
	var all map[string]map[string]float64
	s.await("all is counted", func() bool {
		all = scrape(t)
		return all["kafka_connect_records_written_total"][of] >= 10 && all["kafka_connect_record_failures_total"][of] == 1
	})
	for name := range names {
		of := of
		if strings.HasPrefix(name, "jvm_") {
			of = ""
		}
		assert.Contains(t, all[name], of, name)
	}
	assert.InDelta(t, 1, all["debezium_connected"][of], 0)
	assert.InDelta(t, 60, all["debezium_behind_source_seconds"][of], 60, "seconds, and not of the beginning of time")

	database := servicetest.Of(t, "mysql", "mysql")
	database.Kill()
	s.await("the connection is lost", func() bool {
		connected, there := scrape(t)["debezium_connected"][of]
		return there && connected == 0
	})
	database.Start()
	s.store(1)
	s.complete()
	assert.InDelta(t, 1, scrape(t)["debezium_connected"][of], 0)
}
