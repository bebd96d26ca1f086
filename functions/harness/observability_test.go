package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/porttest"
)

const watching = "functions/harness/observability/"

// rule is a rule of rules.yml.
type rule struct {
	Record      string            `json:"record"`
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

func readRules(t *testing.T) (all []rule) {
	t.Helper()
	var file struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []rule `json:"rules"`
		} `json:"groups"`
	}
	require.NoError(t, yaml.UnmarshalStrict([]byte(readFile(t, watching+"rules.yml")), &file))
	for _, group := range file.Groups {
		all = append(all, group.Rules...)
	}
	return all
}

// dashboard has the checked fields of a dashboard.
type dashboard struct {
	UID    string  `json:"uid"`
	Title  string  `json:"title"`
	Panels []panel `json:"panels"`

	Templating struct {
		List []struct {
			Name  string
			Query any
		}
	} `json:"templating"`
}

type panel struct {
	ID          int
	Title       string
	Type        string
	Description string
	Datasource  struct{ Type, UID string }
	Links       []link
	FieldConfig struct{ Defaults struct{ Links []link } }
	GridPos     struct{ X, Y, W, H int }
	Targets     []struct {
		RefID        string
		Datasource   struct{ Type, UID string }
		Expr         string
		LegendFormat string
	}
}

// link leads from a panel, or from a series of it, to a page.
type link struct{ Title, URL string }

// dashboards reads all dashboards, by file name.
func dashboards(t *testing.T) map[string]dashboard {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, watching, "grafana/dashboards/*.json"))
	require.NoError(t, err)
	all := map[string]dashboard{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		var d dashboard
		require.NoError(t, json.Unmarshal(text, &d), file)
		all[filepath.Base(file)] = d
	}
	return all
}

// datasource is a data source that Grafana is provisioned with.
type datasource struct {
	Name, UID, Type, URL string
}

func datasources(t *testing.T) map[string]datasource {
	t.Helper()
	var file struct{ Datasources []datasource }
	require.NoError(t, yaml.Unmarshal([]byte(readFile(t, watching+"grafana/datasources.yml")), &file))
	byUID := map[string]datasource{}
	for _, d := range file.Datasources {
		byUID[d.UID] = d
	}
	return byUID
}

func TestComposeAddsWhatIsNotAlwaysNeededByProfiles(t *testing.T) {
	c := composed(t, nil)
	var added []string
	byProfile := map[string][]string{}
	for name, s := range c.Services {
		if s.Profiles == nil {
			continue
		}
		require.Len(t, s.Profiles, 1, name)
		byProfile[s.Profiles[0]] = append(byProfile[s.Profiles[0]], name)
		added = append(added, name)
	}
	assert.Len(t, byProfile, 5)
	assert.ElementsMatch(t, []string{"prometheus", "grafana", "jaeger"}, byProfile["observability"])
	assert.Equal(t, []string{"bank"}, byProfile["payment"])
	assert.Equal(t, []string{"registry"}, byProfile["registry"])
	assert.Equal(t, []string{"connect"}, byProfile["cdc"])
	assert.Empty(t, c.Services["connect"].Ports, "whoever reaches Kafka Connect reads and writes all connectors")
	assert.Equal(t, []string{"keycloak"}, byProfile["auth"])
	assert.Equal(t, "127.0.0.1:8082", c.Services["keycloak"].published(t, c.Services["keycloak"].value(t, "KC_HTTP_PORT")))
	assert.Equal(t, "127.0.0.1:8081", c.Services["registry"].published(t, c.Services["registry"].value(t, "QUARKUS_HTTP_PORT")))
	for name, s := range c.Services {
		for _, other := range added {
			if s.Profiles == nil {
				assert.NotContains(t, s.DependsOn, other, "%s runs without the profile", name)
			}
		}
	}

	var scraped struct {
		RuleFiles []string `json:"rule_files"`
		Scrape    []struct {
			Job    string `json:"job_name"`
			Static []struct {
				Targets []string `json:"targets"`
			} `json:"static_configs"`
			Names []struct {
				Names []string `json:"names"`
				Port  int      `json:"port"`
			} `json:"dns_sd_configs"`
		} `json:"scrape_configs"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(readFile(t, watching+"prometheus.yml")), &scraped))
	assert.Equal(t, []string{"harness:9464"}, scraped.Scrape[0].Static[0].Targets)
	_, port, err := net.SplitHostPort(c.Services["harness"].value(t, "HARNESS_OPS_ADDR"))
	require.NoError(t, err)
	assert.Equal(t, "9464", port)
	assert.Equal(t, "connect", scraped.Scrape[1].Job, "by which the dashboards ask")
	found := scraped.Scrape[1].Names[0]
	assert.Equal(t, []string{"connect"}, found.Names, "the container, whose name is unknown without the profile")
	assertAgent(t, stages(t, c.Services["connect"].Build.Dockerfile)[0], found.Port)
	for _, file := range scraped.RuleFiles {
		assert.Contains(t, c.Services["prometheus"].Volumes, "./"+watching+file+":/etc/prometheus/"+file+":ro")
	}

	for _, d := range datasources(t) {
		address, err := url.Parse(d.URL)
		require.NoError(t, err)
		assert.NotEmpty(t, c.Services[address.Hostname()].published(t, address.Port()), d.Name)
	}
	home := c.Services["grafana"].value(t, "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH")
	assert.Contains(t, dashboards(t), filepath.Base(home))
	assert.Contains(t, c.Services["grafana"].Volumes, "./"+watching+"grafana/dashboards:"+filepath.Dir(home)+":ro")
	assert.Contains(t, readFile(t, watching+"grafana/dashboards.yml"), "path: "+filepath.Dir(home))
}

// assertAgent asserts that Kafka Connect in a container serves the metrics as that of the tests does, at a port.
func assertAgent(t *testing.T, stage []instruction, port int) {
	t.Helper()
	version := regexp.MustCompile(`(?m)^agent_version=(.+)$`).FindStringSubmatch(readFile(t, ".ci/services/connect"))[1]
	from, to, ok := strings.Cut(argument(t, stage, "COPY"), " ")
	require.True(t, ok)
	assert.Contains(t, readFile(t, ".ci/services/connect"), from)
	assert.Contains(t, argument(t, stage, "RUN"), " jmx_prometheus_javaagent "+version+" ")
	assert.Equal(t, fmt.Sprintf("KAFKA_OPTS=-javaagent:/kafka/libs/jmx_prometheus_javaagent-%s.jar=%d:%s", version, port, to), argument(t, stage, "ENV"))
}

func TestEachDashboardIsOneThatGrafanaCanShow(t *testing.T) {
	all := dashboards(t)
	assert.Len(t, all, 4)
	uids, sources := map[string]bool{}, datasources(t)
	for file, d := range all {
		assert.NotEmpty(t, d.Title, file)
		assert.False(t, uids[d.UID], "%s has the uid of another", file)
		uids[d.UID] = true
		ids, cells := map[int]bool{}, map[[2]int]string{}
		for _, p := range d.Panels {
			assert.False(t, ids[p.ID], "%s has two panels %d", file, p.ID)
			ids[p.ID] = true
			assert.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, p.Title)
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					assert.Empty(t, cells[[2]int{x, y}], "%s lies upon it", p.Title)
					cells[[2]int{x, y}] = p.Title
				}
			}
			require.NotEmpty(t, p.Targets, p.Title)
			for _, target := range p.Targets {
				assert.Equal(t, "prometheus", sources[target.Datasource.UID].Type, p.Title)
				assert.NotEmpty(t, target.LegendFormat, p.Title)
			}
		}
	}
}

func TestEachAlertSaysWhatIsWrongAndWhatToDo(t *testing.T) {
	var alerts []string
	for _, r := range readRules(t) {
		if r.Alert == "" {
			continue
		}
		alerts = append(alerts, r.Alert)
		assert.Contains(t, []string{"warning", "critical"}, r.Labels["severity"], r.Alert)
		assert.NotEmpty(t, r.Annotations["summary"], r.Alert)
		assert.NotEmpty(t, r.Annotations["description"], r.Alert)
		assert.Equal(t, runbook+"#"+strings.ToLower(r.Alert), r.Annotations["runbook_url"], r.Alert)
		assert.Contains(t, readFile(t, watching+"rules_test.yml"), "alertname: "+r.Alert+"\n", "the alert is tested")
	}
	assert.NotEmpty(t, alerts)
	assert.ElementsMatch(t, alerts, runbookSections(t), "the runbook has a section for each alert")
}

// runbook is where people read the runbook.
const runbook = "https://example.com/orders/blob/main/" + watching + "RUNBOOK.md"

// runbookSections returns the headings of the runbook's sections about alerts.
func runbookSections(t *testing.T) (headings []string) {
	t.Helper()
	for _, section := range strings.Split(readFile(t, watching+"RUNBOOK.md"), "\n## ")[1:] {
		heading, text, _ := strings.Cut(section, "\n")
		if strings.HasPrefix(heading, "Orders") {
			assert.NotEmpty(t, strings.TrimSpace(text), heading)
			headings = append(headings, heading)
		}
	}
	return headings
}

func TestEachPanelIsDescribedAndLeadsToTheConsole(t *testing.T) {
	t.Parallel()
	pages := map[string]bool{}
	for file, d := range dashboards(t) {
		for _, p := range d.Panels {
			assert.NotEmpty(t, p.Description, "%s: %s", file, p.Title)
			if file != "runtime.json" { // the console has no page about the process
				assert.NotEmpty(t, p.Links, "%s: %s", file, p.Title)
			}
			for _, l := range append(p.Links, p.FieldConfig.Defaults.Links...) {
				page, ok := strings.CutPrefix(l.URL, "${console:raw}")
				assert.True(t, ok, "%s: %s", file, l.URL)
				assert.Contains(t, l.Title, "Console: ")
				pages[page] = true
			}
		}
		require.NotEmpty(t, d.Templating.List, file)
		console := d.Templating.List[0]
		assert.Equal(t, []any{"console", "http://" + composed(t, nil).Services["harness"].published(t, "8080")}, []any{console.Name, console.Query}, file)
	}

	p := newStack(t).up(t)
	for page := range pages {
		assert.Equal(t, http.StatusOK, p.get(t, strings.ReplaceAll(page, "${__field.labels.consumer}", "notify"), nil), page)
	}
}

// byFunction is a label that says which function a series is about.
var byFunction = regexp.MustCompile(`orders_(function|delivery|dead_letters|records_lost|consumer_lag)\w*`)

func TestPanelsAboutFunctionsShowTheChosenOnes(t *testing.T) {
	queries := 0
	for file, d := range dashboards(t) {
		chosen := false
		for _, v := range d.Templating.List {
			chosen = chosen || v.Name == "function"
		}
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				if byFunction.MatchString(target.Expr) {
					assert.True(t, chosen, "%s has no variable for the function", file)
					assert.Contains(t, target.Expr, "$function", "%s: %s", file, p.Title)
					queries++
				}
			}
		}
	}
	assert.Greater(t, queries, 5)
}

// onlyConnect matches queries that have no answer without a Kafka Connect. A test of change data capture checks those of its own
// series, and promtool the alerts.
var onlyConnect = regexp.MustCompile(`\b(orders_connector|debezium|kafka_connect)_|job="connect"`)

// comparison is the comparison in an alert's expression.
var comparison = regexp.MustCompile(` (>|<|>=|<=|==|!=) (\d)`)

// TestPrometheusAnswersEveryQuery runs the Prometheus in PROMETHEUS_BIN, with promtool beside it, on a harness under load.
func TestPrometheusAnswersEveryQuery(t *testing.T) {
	binary := os.Getenv("PROMETHEUS_BIN")
	if binary == "" {
		t.Skip("needs Prometheus: .ci/run observability")
	}
	promtool := filepath.Join(filepath.Dir(binary), "promtool")
	for _, arguments := range [][]string{{"check", "config", "prometheus.yml"}, {"check", "rules", "rules.yml"}, {"test", "rules", "rules_test.yml"}} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		command := exec.CommandContext(ctx, promtool, arguments...)
		command.Dir = filepath.Join(root, watching)
		out, err := command.CombinedOutput()
		cancel()
		require.NoError(t, err, "promtool %v: %s", arguments, out)
	}

	p := newStack(t).up(t, "--overlay", "payment", "--audit-interval", "1s")
	prometheus := startPrometheus(t, binary, strings.TrimPrefix(p.url, "http://"))
	stop := trickle(t, p)
	defer stop()

	queries := map[string]string{} // by place of use
	for file, d := range dashboards(t) {
		for _, panel := range d.Panels {
			for _, target := range panel.Targets {
				if onlyConnect.MatchString(target.Expr) {
					continue
				}
				queries[file+": "+panel.Title+" "+target.RefID] = strings.ReplaceAll(target.Expr, "$function", ".*") // for all of them
			}
		}
	}
	for _, r := range readRules(t) {
		if r.Alert == "" {
			queries["rule "+r.Record] = r.Record
			continue
		}
		if onlyConnect.MatchString(r.Expr) {
			continue
		}
		compared := comparison.ReplaceAllString(r.Expr, " $1 bool $2") // so that a silent alert returns a value, too
		require.NotEqual(t, r.Expr, compared, r.Alert)
		queries["alert "+r.Alert] = compared
	}
	require.Greater(t, len(queries), 50)
	defer func() {
		if t.Failed() {
			t.Logf("without an answer: %v", queries)
		}
	}()
	p.await(t, "every query has an answer", func() bool {
		for where, query := range queries {
			if ask(t, prometheus, query) == 0 {
				return false
			}
			delete(queries, where)
		}
		return true
	})
	assert.Zero(t, ask(t, prometheus, `ALERTS{alertstate="firing"}`), "nothing is wrong with this harness")
	stop()
	p.stop(t)
}

// startPrometheus runs a Prometheus with the project's configuration, except for the address of the harness and the scrape
// interval, and returns its URL.
func startPrometheus(t *testing.T, binary, harness string) string {
	t.Helper()
	folder := t.TempDir()
	config := strings.NewReplacer("harness:9464", harness, "scrape_interval: 5s", "scrape_interval: 500ms", "evaluation_interval: 5s", "evaluation_interval: 500ms").
		Replace(readFile(t, watching+"prometheus.yml"))
	require.Contains(t, config, harness)
	require.NoError(t, os.WriteFile(filepath.Join(folder, "prometheus.yml"), []byte(config), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "rules.yml"), []byte(readFile(t, watching+"rules.yml")), 0o600))
	address := porttest.Address(t)
	var log functiontest.Log
	command := exec.CommandContext(context.Background(), binary, "--config.file="+filepath.Join(folder, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(folder, "data"), "--web.listen-address="+address)
	command.Stdout, command.Stderr = &log, &log
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM) // it may have ended
		_ = command.Wait()
		if t.Failed() {
			t.Logf("the log of Prometheus:\n%s", log.String())
		}
	})
	require.Eventually(t, func() bool { return ask(t, "http://"+address, "vector(1)") == 1 }, time.Minute, 50*time.Millisecond)
	return "http://" + address
}

// ask returns the number of series of a query, also 0 if Prometheus does not listen yet.
func ask(t *testing.T, prometheus, query string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, prometheus+"/api/v1/query?query="+url.QueryEscape(query), http.NoBody)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	defer func() { assert.NoError(t, response.Body.Close()) }()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	if response.StatusCode == http.StatusServiceUnavailable {
		return 0 // it is starting
	}
	var answer struct {
		Status string
		Data   struct{ Result []json.RawMessage }
	}
	require.NoError(t, json.Unmarshal(text, &answer), string(text))
	require.Equal(t, "success", answer.Status, "%s: %s", query, text)
	return len(answer.Data.Result)
}

// trickle places an order from time to time, some of which fail and some of which are canceled, until stop.
func trickle(t *testing.T, p *process) (stop func()) {
	t.Helper()
	ended := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-ended:
				return
			case <-tick.C:
			}
			var placed order
			quantity := 1 + n%4*100 // one of four can be reserved
			status := p.do(t, http.MethodPost, "/api/orders", nil, body("SKU-123", quantity), &placed)
			if status == http.StatusCreated && n%8 == 0 {
				p.do(t, http.MethodPost, fmt.Sprintf("/api/orders/%s/cancel", placed.OrderID), nil, "", nil)
			}
		}
	})
	return sync.OnceFunc(func() {
		close(ended)
		running.Wait()
	})
}
