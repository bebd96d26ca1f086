package main

import (
	"bytes"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"example.com/orders/sql/schema"
)

const root = "../.."

// composition is docker-compose.yml, with the fields that it uses.
type composition struct {
	Name     string             `json:"name"`
	Services map[string]service `json:"services"`
	Volumes  map[string]any     `json:"volumes"`
}

type service struct {
	Profiles []string `json:"profiles"`
	Image    string   `json:"image"`
	Build    struct {
		Context    string            `json:"context"`
		Dockerfile string            `json:"dockerfile"`
		Args       map[string]string `json:"args"`
	} `json:"build"`
	DependsOn map[string]struct {
		Condition string `json:"condition"`
	} `json:"depends_on"`
	Command     []string       `json:"command"`
	Environment map[string]any `json:"environment"`
	Volumes     []string       `json:"volumes"`
	Networks    map[string]any `json:"networks"`
	Ports       []string       `json:"ports"`
	Healthcheck struct {
		Test     []string `json:"test"`
		Interval string   `json:"interval"`
		Timeout  string   `json:"timeout"`
		Retries  int      `json:"retries"`
	} `json:"healthcheck"`
	User            string   `json:"user"`
	ReadOnly        bool     `json:"read_only"`
	Tmpfs           []string `json:"tmpfs"`
	CapDrop         []string `json:"cap_drop"`
	SecurityOpt     []string `json:"security_opt"`
	Restart         string   `json:"restart"`
	StopGracePeriod string   `json:"stop_grace_period"`
}

var variable = regexp.MustCompile(`\$\{(\w+)(:-([^}]*))?\}|\$\$`)

// composed reads docker-compose.yml with the values of an .env file.
func composed(t *testing.T, env map[string]string) composition {
	t.Helper()
	text := variable.ReplaceAllStringFunc(readFile(t, "docker-compose.yml"), func(found string) string {
		if found == "$$" {
			return "$"
		}
		parts := variable.FindStringSubmatch(found)
		return or(env[parts[1]], parts[3])
	})
	var c composition
	require.NoError(t, yaml.UnmarshalStrict([]byte(text), &c))
	return c
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	require.NoError(t, err)
	return string(text)
}

// value returns a variable of a service's environment.
func (s service) value(t *testing.T, name string) string {
	t.Helper()
	require.Contains(t, s.Environment, name)
	text, err := yaml.Marshal(s.Environment[name])
	require.NoError(t, err)
	return strings.Trim(strings.TrimSpace(string(text)), `"'`)
}

// published returns the address on this machine of a container's port.
func (s service) published(t *testing.T, port string) string {
	t.Helper()
	for _, p := range s.Ports {
		if host, ok := strings.CutSuffix(p, ":"+port); ok {
			return host
		}
	}
	require.Failf(t, "not published", "port %s is not among %v", port, s.Ports)
	return ""
}

// settings are the variables that an .env file may set.
var settings = map[string]map[string]string{
	"as it comes": {},
	"all set": {
		"MYSQL_PASSWORD": "p@ss:w/rd", "MYSQL_ROOT_PASSWORD": "other", "MYSQL_USERS_SECRET": "another-secret-of-the-users", "HARNESS_PORT": "18080", "HARNESS_HOSTS": "shop.example.com,10.0.0.5", "HARNESS_OVERLAY": "payment", "ORDER_CREATED_VERSION": "2", "MYSQL_PORT": "13306",
		"HARNESS_OPS_PORT": "19464", "KAFKA_PORT": "19092", "SMTP_ADDR": "mail.example.com:25", "SMTP_FROM": "shop@example.com",
		"SMTP_TLS": "starttls", "SMTP_USER": "shop", "SMTP_PASSWORD": "s3cret",
		"OTEL_EXPORTER_OTLP_ENDPOINT": "http://jaeger:4318", "PROMETHEUS_PORT": "19090", "GRAFANA_PORT": "13000", "JAEGER_PORT": "17686",
		"TRACE_URL": "http://127.0.0.1:17686/trace/{trace}", "NO_PROXY": "collector.example.com", "HARNESS_REVISION": "1f5a",
		"PAYMENT_GATEWAY": "http", "PAYMENT_GATEWAY_URL": "https://gateway.example.com", "PAYMENT_GATEWAY_TOKEN": "s3cret",
		"PAYMENT_GATEWAY_TIMEOUT": "1s", "PAYMENT_GATEWAY_CALLS": "64", "PAYMENT_SIMULATION": "decline=0.05", "BANK_PORT": "18085",
		"CONNECT_URL": "http://connect:8083", "CDC_MYSQL_PASSWORD": "s3cret", "OUTBOX_CDC_PATIENCE": "1m",
		"RATE_LIMIT": "50/100", "RATE_LIMIT_WRITES": "10/20", "TRUSTED_PROXIES": "1", "MAX_OPEN_ORDERS": "20", "ADMIT_MAX_WAIT": "5s", "MAX_MAILS": "30", "HARNESS_MAX_CONNECTIONS": "1000",
		"SINK_TOKEN": "the-token-of-the-sources", "EVENT_FORMAT": "avro", "SCHEMA_REGISTRY_URL": "http://registry:8081/apis/ccompat/v7", "REGISTRY_PORT": "18081",
		"OIDC_ISSUER": "https://login.example.com", "OIDC_AUDIENCE": "shop", "OIDC_ALGORITHMS": "ES256", "OIDC_ROLES_CLAIM": "realm_access.roles", "OIDC_OPERATOR_ROLE": "staff", "OIDC_CLIENT_ID": "console", "OIDC_CLIENT_SECRET": "s3cret",
		"MYSQL_DSN_ORDERS": "shop:s3cret@tcp(a:3306)/", "MYSQL_DSN_INVENTORY": "shop:s3cret@tcp(b:3306)/", "MYSQL_DSN_PAYMENTS": "shop:s3cret@tcp(c:3306)/",
		"MYSQL_DSN_NOTIFICATIONS": "shop:s3cret@tcp(d:3306)/", "MYSQL_DSN_OPERATIONS": "shop:s3cret@tcp(e:3306)/",
		"RETAIN_ORDERS": "720h", "RETAIN_NOTIFICATIONS": "720h",
		"PUBLIC_URL": "https://shop.example.com", "KEYCLOAK_PORT": "18082", "KEYCLOAK_ADMIN_PASSWORD": "s3cret",
	},
}

func TestComposeSetsOnlyKnownVariablesOfTheHarness(t *testing.T) {
	var help bytes.Buffer
	for _, topic := range []string{"up", "environment"} {
		require.NoError(t, run(t.Context(), []string{"help", topic}, streams{&help, io.Discard}))
	}
	c := composed(t, nil)
	for name := range c.Services["harness"].Environment {
		assert.Regexp(t, `\b`+name+`\b`, help.String())
	}
	for name := range harnessImage(t).env {
		assert.Regexp(t, `\b`+name+`\b`, help.String())
	}
}

func TestComposePublishesThePortThatTheHarnessListensOn(t *testing.T) {
	i := harnessImage(t)
	host, port, err := net.SplitHostPort(i.env["HARNESS_ADDR"])
	require.NoError(t, err)
	assert.Equal(t, "0.0.0.0", host, "a port is published to an address of the container that is not its loopback one")
	assert.Equal(t, port, argument(t, i.stage, "EXPOSE"))
	c := composed(t, nil)
	assert.NotContains(t, c.Services["harness"].Environment, "HARNESS_ADDR", "the image says it")
	assert.Equal(t, "127.0.0.1:8080", c.Services["harness"].published(t, port))
	host, port, err = net.SplitHostPort(c.Services["harness"].value(t, "HARNESS_OPS_ADDR"))
	require.NoError(t, err)
	assert.Equal(t, "0.0.0.0", host, "Prometheus reaches it from another container")
	assert.Equal(t, "127.0.0.1:9464", c.Services["harness"].published(t, port))
}

// The image can be run with a port that the whole network reaches; what is trusted is the composition, see the test above.
func TestComposeTrustsItsNetworkAndTheImageNone(t *testing.T) {
	c := composed(t, nil)
	for _, service := range []string{"harness", "bank"} {
		assert.Equal(t, "true", c.Services[service].value(t, "HARNESS_TRUST_NETWORK"))
	}
	assert.Equal(t, "true", c.Services["harness"].value(t, "MYSQL_ALLOW_PLAINTEXT"))
	assert.NotContains(t, harnessImage(t).env, "HARNESS_TRUST_NETWORK")
	assert.NotContains(t, harnessImage(t).env, "MYSQL_ALLOW_PLAINTEXT")
}

func TestComposePublishesToThisMachineOnly(t *testing.T) {
	for name, env := range settings {
		t.Run(name, func(t *testing.T) {
			for name, s := range composed(t, env).Services {
				require.Equal(t, name == "connect", len(s.Ports) == 0, "%s: nobody but its containers may reach Kafka Connect", name)
				for _, port := range s.Ports {
					assert.Regexp(t, `^127\.0\.0\.1:\d+:\d+$`, port)
				}
			}
		})
	}
}

// TestComposeGivesNoServiceMoreThanItNeeds checks the demands that the manifests make on pods.
func TestComposeGivesNoServiceMoreThanItNeeds(t *testing.T) {
	c := composed(t, nil)
	require.NotEmpty(t, c.Services)
	for name, s := range c.Services {
		assert.Regexp(t, `^[1-9]\d*:\d+$`, s.User, "%s: give user, by number and not root's", name)
		assert.True(t, s.ReadOnly, "%s: give read_only: true, and tmpfs or a volume for what it writes", name)
		assert.Equal(t, []string{"ALL"}, s.CapDrop, "%s: cap_drop", name)
		assert.Equal(t, []string{"no-new-privileges:true"}, s.SecurityOpt, "%s: security_opt", name)
		for _, volume := range s.Volumes {
			assert.True(t, strings.HasSuffix(volume, ":ro") || !strings.HasPrefix(volume, "."), "%s can write %s", name, volume)
		}
	}
	for _, name := range []string{"harness", "bank"} {
		assert.Equal(t, argument(t, harnessImage(t).stage, "USER"), c.Services[name].User, name)
	}
	kept := slices.Concat(c.Services["harness"].Tmpfs, c.Services["bank"].Volumes)
	for _, mounted := range kept {
		assert.Contains(t, mounted, harnessImage(t).env["HARNESS_DATA"], "the folder that the image writes to")
	}
	assert.Len(t, kept, 2)
}

func TestComposeDescribesKafkaToItsClients(t *testing.T) {
	for name, env := range settings {
		t.Run(name, func(t *testing.T) {
			c := composed(t, env)
			kafka := c.Services["kafka"]
			endpoints := func(variable string) map[string]*url.URL {
				byName := map[string]*url.URL{}
				for text := range strings.SplitSeq(kafka.value(t, variable), ",") {
					endpoint, err := url.Parse(text)
					require.NoError(t, err)
					byName[strings.ToUpper(endpoint.Scheme)] = endpoint
				}
				return byName
			}
			listeners, advertised := endpoints("KAFKA_LISTENERS"), endpoints("KAFKA_ADVERTISED_LISTENERS")

			inside := kafka.value(t, "KAFKA_INTER_BROKER_LISTENER_NAME")
			require.Contains(t, advertised, inside)
			assert.Equal(t, c.Services["harness"].value(t, "KAFKA_BROKERS"), advertised[inside].Host)
			assert.Equal(t, "kafka", advertised[inside].Hostname(), "the name of the service")
			assert.Equal(t, listeners[inside].Port(), advertised[inside].Port())

			require.Contains(t, advertised, "EXTERNAL")
			assert.Equal(t, kafka.published(t, listeners["EXTERNAL"].Port()), advertised["EXTERNAL"].Host)

			controller := kafka.value(t, "KAFKA_CONTROLLER_LISTENER_NAMES")
			assert.NotContains(t, advertised, controller)
			assert.Equal(t, kafka.value(t, "KAFKA_NODE_ID")+"@localhost:"+listeners[controller].Port(), kafka.value(t, "KAFKA_CONTROLLER_QUORUM_VOTERS"))
			for listener := range listeners {
				assert.Contains(t, kafka.value(t, "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"), listener+":PLAINTEXT")
			}
			for variable := range kafka.Environment {
				if strings.HasSuffix(variable, "_REPLICATION_FACTOR") || strings.HasSuffix(variable, "_MIN_ISR") {
					assert.Equal(t, "1", kafka.value(t, variable), variable)
				}
			}
			assert.Contains(t, kafka.Volumes, "kafka-data:"+kafka.value(t, "KAFKA_LOG_DIRS"))
			check := strings.Join(kafka.Healthcheck.Test, " ")
			assert.Contains(t, check, "--bootstrap-server "+advertised[inside].Host)
			assert.Contains(t, check, "/dev/tcp/"+strings.Replace(advertised[inside].Host, ":", "/", 1))
		})
	}
}

func TestComposeConnectsTheHarnessAsTheUserOfMySQL(t *testing.T) {
	for name, env := range settings {
		t.Run(name, func(t *testing.T) {
			c := composed(t, env)
			server := c.Services["mysql"]
			dsn, err := mysql.ParseDSN(c.Services["harness"].value(t, "MYSQL_DSN"))
			require.NoError(t, err)
			assert.Equal(t, server.value(t, "MYSQL_USER"), dsn.User)
			assert.NotEqual(t, "root", dsn.User)
			assert.Equal(t, server.value(t, "MYSQL_PASSWORD"), dsn.Passwd)
			assert.Equal(t, "mysql:3306", dsn.Addr)
			assert.Empty(t, dsn.DBName)
			assert.NotEmpty(t, server.published(t, "3306"))
			assert.Contains(t, server.Volumes, "mysql-data:/var/lib/mysql")
		})
	}
}

func TestComposeGrantsTheUserItsSchemasAndNoMore(t *testing.T) {
	const script = "sql/compose/grants.sql"
	server := composed(t, nil).Services["mysql"]
	assert.Contains(t, server.Volumes, "./"+script+":/docker-entrypoint-initdb.d/grants.sql:ro")
	grant := regexp.MustCompile("^GRANT [A-Z, ]+ ON `([a-z]+)`\\.\\* TO '(\\w+)'@'%' WITH GRANT OPTION;$")
	makesUsers := []string{"GRANT CREATE USER ON *.* TO 'orders'@'%';", "GRANT SELECT ON `mysql`.* TO 'orders'@'%';"}
	var granted []string
	for line := range strings.Lines(readFile(t, script)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "--") || slices.Contains(makesUsers, line) {
			continue
		}
		parts := grant.FindStringSubmatch(line)
		require.NotNil(t, parts, "not a grant on one schema: %s", line)
		assert.Equal(t, server.value(t, "MYSQL_USER"), parts[2])
		granted = append(granted, parts[1])
	}
	assert.ElementsMatch(t, schema.All, granted)
}

func TestComposeWaitsForHealthyServices(t *testing.T) {
	c := composed(t, nil)
	for name, s := range c.Services {
		require.GreaterOrEqual(t, len(s.Healthcheck.Test), 2, "%s has no health check", name)
		assert.Contains(t, []string{"CMD", "CMD-SHELL"}, s.Healthcheck.Test[0])
		assert.Positive(t, duration(t, s.Healthcheck.Interval))
		assert.Positive(t, s.Healthcheck.Retries)
		assert.Equal(t, "unless-stopped", s.Restart, name)
		for other, d := range s.DependsOn {
			assert.Contains(t, c.Services, other)
			assert.Equal(t, "service_healthy", d.Condition)
		}
	}
	h := c.Services["harness"]
	assert.Len(t, h.DependsOn, 2)
	assert.Equal(t, "["+`"`+h.Healthcheck.Test[1]+`"]`, argument(t, harnessImage(t).stage, "ENTRYPOINT"))
	assert.Equal(t, []string{"CMD", "/harness", "health"}, h.Healthcheck.Test)
	assert.Greater(t, duration(t, h.Healthcheck.Timeout), healthWithin, "the command says why it failed before it is killed")
}

func duration(t *testing.T, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(text)
	require.NoError(t, err)
	return d
}

func TestComposeLetsTheHarnessDrain(t *testing.T) {
	drain := duration(t, newProgram(streams{}).root.Flags().Lookup("drain").DefValue)
	assert.Greater(t, duration(t, composed(t, nil).Services["harness"].StopGracePeriod), endWithin+drain+2*stopWithin,
		"requests, events under way, then the functions, then the servers")
}

// images returns the images that the service runs or is built from.
func (s service) images(t *testing.T) (all []string) {
	t.Helper()
	if s.Build.Context == "" {
		return []string{s.Image}
	}
	for _, stage := range stages(t, s.Build.Dockerfile) {
		from := strings.Fields(strings.TrimPrefix(stage[0].argument, "--platform=$BUILDPLATFORM "))[0]
		if from != "scratch" {
			all = append(all, from)
		}
	}
	return all
}

func TestComposePinsImages(t *testing.T) {
	c := composed(t, nil)
	var images []string
	for name, s := range c.Services {
		if name == "bank" {
			assert.Equal(t, c.Services["harness"].Build, s.Build, "it is a command of the harness")
			continue
		}
		if s.Build.Context != "" {
			assert.Contains(t, []string{"harness", "connect"}, name)
			assert.Equal(t, ".", s.Build.Context)
		}
		images = append(images, s.images(t)...)
	}
	assert.Len(t, images, 9)
	for _, image := range images {
		assert.Regexp(t, `^[a-z./-]+:v?\d+\.\d+[\w.-]*$`, image)
	}
	assert.Contains(t, images, "golang:"+regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(readFile(t, "go.mod"))[1])
}

func TestComposeUsesOnlyVolumesThatAreDeclared(t *testing.T) {
	c := composed(t, nil)
	used := map[string]any{}
	for _, s := range c.Services {
		for _, v := range s.Volumes {
			source, _, _ := strings.Cut(v, ":")
			if strings.HasPrefix(source, ".") {
				_, err := os.Stat(filepath.Join(root, source))
				assert.NoError(t, err)
				continue
			}
			used[source] = nil
		}
	}
	assert.Equal(t, used, c.Volumes)
}

func TestTheExampleOfEnvHasEverySettingOfComposeWithItsDefault(t *testing.T) {
	example := map[string]string{}
	for line := range strings.Lines(readFile(t, ".env.example")) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
			example[name] = value
		}
	}
	inCompose := map[string]string{}
	for _, parts := range variable.FindAllStringSubmatch(readFile(t, "docker-compose.yml"), -1) {
		if parts[1] == "" {
			continue
		}
		if earlier, ok := inCompose[parts[1]]; ok {
			assert.Equal(t, earlier, parts[3], "two defaults of %s", parts[1])
		}
		inCompose[parts[1]] = parts[3]
	}
	assert.Equal(t, inCompose, example)
	for name := range inCompose {
		assert.Contains(t, settings["all set"], name)
	}
}

// Docker copies a proxy from the client's settings into the environment of every container.
func TestComposeReachesItsOwnServicesWithoutAProxy(t *testing.T) {
	for name, env := range settings {
		t.Run(name, func(t *testing.T) {
			c := composed(t, env)
			direct := func(service string) []string { return strings.Split(c.Services[service].value(t, "NO_PROXY"), ",") }
			assert.Contains(t, direct("harness"), "jaeger")
			assert.Contains(t, direct("harness"), env["NO_PROXY"])
			for _, d := range datasources(t) {
				u, err := url.Parse(d.URL)
				require.NoError(t, err)
				assert.Contains(t, direct("grafana"), u.Hostname())
			}
			for name, s := range c.Services {
				if slices.Contains(s.Healthcheck.Test, "wget") {
					assert.Contains(t, s.Healthcheck.Test, "--proxy=off", name)
				}
			}
		})
	}
}
