package main

import (
	"encoding/base64"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/porttest"
	"example.com/orders/functions/internal/web/secret"
	"example.com/orders/sql/servertest"
)

// sentinel is the recognizable value of a secret; of a DSN it is the password in it.
func sentinel(name string) string {
	return "s3ntinel-" + strings.ToLower(strings.ReplaceAll(name, "_", "-"))
}

// telling are all texts that somebody else may read, by where they are.
type telling map[string]string

// check asserts that no text has a secret, in whatever form it travels.
func (all telling) check(t *testing.T, more ...string) {
	t.Helper()
	forms := slices.Clone(more)
	for _, name := range secret.Variables {
		forms = append(forms, sentinel(name), base64.StdEncoding.EncodeToString([]byte("orders:"+sentinel(name))))
	}
	for where, text := range all {
		for _, form := range forms {
			if at := strings.Index(text, form); at >= 0 {
				assert.Fail(t, "a secret is told", "%s has %s: …%s…", where, form, text[max(0, at-200):min(len(text), at+len(form)+50)])
			}
		}
	}
}

// files adds the files of a folder that others may read: not the data of the servers, which are theirs.
func (all telling) files(t *testing.T, folder string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{databaseFolder, kafkaFolder}, d.Name()):
			return fs.SkipDir
		case d.Type().IsRegular():
			text, err := os.ReadFile(path)
			all[path] = string(text)
			return err
		}
		return nil
	}))
}

// secretly returns the environment of a harness whose secrets are variables, or files.
func secretly(t *testing.T, values map[string]string, asFiles bool) (environ []string) {
	t.Helper()
	folder := t.TempDir()
	for _, name := range secret.Variables {
		value, ok := values[name]
		if !ok && (name == "OIDC_CLIENT_SECRET" || strings.HasPrefix(name, "MYSQL_DSN_")) {
			environ = append(environ, name+"=", name+"_FILE=") // a harness with it wants a provider, or another server
			continue
		}
		if !ok {
			value = sentinel(name)
		}
		if !asFiles {
			environ = append(environ, name+"="+value, name+"_FILE=")
			continue
		}
		path := filepath.Join(folder, name)
		require.NoError(t, os.WriteFile(path, []byte(value+"\n"), 0o600))
		environ = append(environ, name+"=", name+"_FILE="+path)
	}
	return environ
}

// TestNoSecretIsToldAnywhere runs a harness with secrets that can be recognized, lets what it logs in to fail, and reads
// everything that it says. The payment gateway repeats what it got in its errors, as careless ones do.
func TestNoSecretIsToldAnywhere(t *testing.T) {
	t.Parallel()
	server := servertest.Start(t)
	admin := mysqltest.Pool(t, server, "")
	servertest.Exec(t, admin, "CREATE USER 'orders'@'localhost' IDENTIFIED BY '"+sentinel("MYSQL_DSN")+"'")
	servertest.Exec(t, admin, "GRANT ALL ON *.* TO 'orders'@'localhost' WITH GRANT OPTION")
	servertest.Exec(t, admin, "CREATE USER 'payments'@'localhost' IDENTIFIED BY '"+sentinel("MYSQL_DSN_PAYMENTS")+"'")
	servertest.Exec(t, admin, "GRANT ALL ON *.* TO 'payments'@'localhost' WITH GRANT OPTION")
	root, err := mysql.ParseDSN(server.DSN)
	require.NoError(t, err)
	dsn := "orders:" + sentinel("MYSQL_DSN") + "@unix(" + root.Addr + ")/"
	own := "payments:" + sentinel("MYSQL_DSN_PAYMENTS") + "@unix(" + root.Addr + ")/"

	for name, c := range map[string]struct {
		asFiles bool
		args    []string
	}{
		"variables, in one process":   {false, nil},
		"files, a process a function": {true, []string{"--deployed"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := make(chan struct{}, 1)
			gateway := answering(t, func(w http.ResponseWriter, r *http.Request) {
				http.Error(w, "not authorized: "+r.Header.Get("Authorization"), http.StatusUnauthorized)
				select {
				case asked <- struct{}{}:
				default:
				}
			})
			nowhere := porttest.Address(t)
			common := []string{
				"KAFKA_BROKERS=", "KAFKA_SASL_MECHANISM=SCRAM-SHA-512", "KAFKA_SASL_USER=orders", "KAFKA_TLS=",
				"MYSQL_SCHEMA_PREFIX=" + map[bool]string{true: "files_", false: "variables_"}[c.asFiles], "KAFKA_TOPIC_PREFIX=",
				"SMTP_ADDR=" + nowhere, "SMTP_TLS=starttls", "SMTP_USER=orders",
				"SCHEMA_REGISTRY_URL=http://" + gateway, "SCHEMA_REGISTRY_USER=orders",
				"PAYMENT_GATEWAY=http", "PAYMENT_GATEWAY_URL=http://" + gateway,
			}
			s := stack{data: t.TempDir(), environ: append(secretly(t, map[string]string{"MYSQL_DSN": dsn, "MYSQL_DSN_PAYMENTS": own}, c.asFiles), common...)}
			p := s.up(t, append([]string{"--overlay", "payment", "--kafka-password", "--pprof"}, c.args...)...)
			p.place(t, "SKU-123", 1)
			<-asked
			p.await(t, "the gateway's refusal is logged", func() bool { return strings.Contains(p.said(t), "not authorized") })

			told := telling{}
			for _, path := range []string{
				"/", "/info", "/metrics", "/health", "/health/ready", "/console/topology", "/docs", "/openapi.json", "/asyncapi.json", "/api/orders",
				"/debug/pprof/goroutine?debug=2", "/debug/pprof/cmdline", "/console/static/app.js", "/functions/notify/health/readiness",
			} {
				told[path] = p.text(t, path)
			}
			for command, environ := range map[string][]string{
				"audit --grace 0s":      s.environ,
				"payments list":         s.environ,
				"deadletters list":      s.environ,
				"outbox list":           s.environ,
				"schemas list":          s.environ, // the registry repeats what it got, too
				"audit --grace 1s":      secretly(t, map[string]string{"MYSQL_DSN": dsn, "MYSQL_DSN_PAYMENTS": own, "KAFKA_SASL_PASSWORD": "wr0ng-password"}, c.asFiles),
				"outbox list --limit 2": secretly(t, map[string]string{"MYSQL_DSN": dsn, "MYSQL_DSN_PAYMENTS": strings.Replace(own, "s3ntinel", "wr0ng-s3ntinel", 1)}, c.asFiles),
				"outbox list --limit 1": secretly(t, map[string]string{"MYSQL_DSN": strings.Replace(dsn, "s3ntinel", "wr0ng-s3ntinel", 1)}, c.asFiles),
			} {
				told[command] = launchAndEnd(t, append(append([]string{}, environ...), "KAFKA_BROKERS="), append(strings.Fields(command), "--data", s.data)...)
			}
			told.files(t, s.data) // while it runs, with its run file and the logs of functions
			p.stop(t)
			told["the log"] = p.said(t)

			for what, wrong := range map[string]map[string]string{
				"a wrong password":         {"MYSQL_DSN": strings.Replace(dsn, "s3ntinel", "wr0ng-s3ntinel", 1)},
				"no server":                {"MYSQL_DSN": strings.Replace(dsn, root.Addr, root.Addr+".not", 1)},
				"another machine":          {"MYSQL_DSN": strings.Replace(dsn, "unix("+root.Addr, "tcp(db.example.com:3306", 1)},
				"no server of payments":    {"MYSQL_DSN": dsn, "MYSQL_DSN_PAYMENTS": strings.Replace(own, root.Addr, root.Addr+".not", 1)},
				"payments are far away":    {"MYSQL_DSN": dsn, "MYSQL_DSN_PAYMENTS": strings.Replace(own, "unix("+root.Addr, "tcp(db.example.com:3306", 1)},
				"no address of payments":   {"MYSQL_DSN": dsn, "MYSQL_DSN_PAYMENTS": "payments:" + sentinel("MYSQL_DSN_PAYMENTS") + "/"},
				"no address":               {"MYSQL_DSN": "orders:" + sentinel("MYSQL_DSN") + "/"},
				"a database":               {"MYSQL_DSN": dsn + sentinel("MYSQL_DSN")},
				"a token with a blank":     {"MYSQL_DSN": dsn, "PAYMENT_GATEWAY_TOKEN": sentinel("PAYMENT_GATEWAY_TOKEN") + " x"},
				"a password that Kafka":    {"MYSQL_DSN": dsn, "KAFKA_SASL_PASSWORD": sentinel("KAFKA_SASL_PASSWORD") + "ä"},
				"no client at a provider":  {"MYSQL_DSN": dsn, "OIDC_CLIENT_SECRET": sentinel("OIDC_CLIENT_SECRET")},
				"no password of the relay": {"MYSQL_DSN": dsn, "SMTP_PASSWORD": ""},
			} {
				environ := append(append(secretly(t, wrong, c.asFiles), common...), "SCHEMA_REGISTRY_URL=http://orders:"+sentinel("SCHEMA_REGISTRY_PASSWORD")+"@"+nowhere)
				if what != "a wrong password" && what != "no server" {
					environ = append(environ, "SCHEMA_REGISTRY_URL=")
				}
				command := []string{"up", "--overlay", "payment", "--kafka-password", "--addr", porttest.Address(t), "--data", t.TempDir()}
				if what == "a wrong password" {
					environ = append(environ, "SCHEMA_REGISTRY_URL=", "KAFKA_BROKERS="+nowhere, "KAFKA_TLS=true")
					command = []string{"migrate", "--data", t.TempDir()}
				}
				told[what] = launchAndEnd(t, environ, command...)
				require.NotEmpty(t, told[what])
			}
			told.check(t, "wr0ng")
		})
	}
}

// said is what a harness and the functions in processes of their own have logged.
func (p *process) said(t testing.TB) string {
	t.Helper()
	all := []string{p.log.String(), p.stdout.String()}
	logs, err := filepath.Glob(filepath.Join(p.stack.data, "functions", "*.log"))
	require.NoError(t, err)
	for _, log := range logs {
		text, err := os.ReadFile(log)
		require.NoError(t, err)
		all = append(all, string(text))
	}
	return strings.Join(all, "\n")
}

// text reads a page, whatever its status.
func (p *process) text(t *testing.T, path string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+path, nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return string(text)
}

// launchAndEnd runs a command to its end, and returns all that it has written.
func launchAndEnd(t *testing.T, environ []string, args ...string) string {
	t.Helper()
	p := launch(t, environ, args...)
	<-p.ended
	return p.log.String() + p.stdout.String()
}

// TestNoSecretIsInTheImage checks what can get into it: its variables, and the files of the build context.
func TestNoSecretIsInTheImage(t *testing.T) {
	for _, stage := range stages(t, "functions/harness/Dockerfile") {
		for _, i := range stage {
			if i.name == "ENV" || i.name == "ARG" || i.name == "LABEL" {
				assert.NotRegexp(t, `(?i)(password|token|secret|dsn)`, i.argument)
			}
		}
	}
	var included []string
	for line := range strings.Lines(readFile(t, ".dockerignore")) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "!"); ok {
			included = append(included, path)
		}
	}
	assert.Regexp(t, `(?m)^\*$`, readFile(t, ".dockerignore"), "only what is named gets into the context")
	assert.NotContains(t, included, ".env")
	out, err := exec.CommandContext(t.Context(), "git", "-C", root, "ls-files", "--cached", "--others", "--", ":!*_test.go").Output()
	require.NoError(t, err)
	private := regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----\n`)
	for path := range strings.Lines(string(out)) {
		path = strings.TrimSpace(path)
		folder, _, _ := strings.Cut(path, "/")
		if !slices.Contains(included, folder) && !slices.Contains(included, path) {
			continue
		}
		assert.NotRegexp(t, `(^|/)(\.env|.*\.(pem|key|p12|jks))$`, path)
		text, err := os.ReadFile(filepath.Join(root, path))
		require.NoError(t, err)
		assert.False(t, private.Match(text), "%s has a private key", path)
	}
}

// In docker-compose.yml secrets come from .env, with a default for development only where a server of the composition has it too.
func TestComposeTakesSecretsFromTheEnvironment(t *testing.T) {
	const development = "orders"
	set := map[string]string{}
	for name, value := range settings["all set"] {
		set[name] = value
		if regexp.MustCompile(`(PASSWORD|TOKEN|SECRET)$|^MYSQL_DSN_`).MatchString(name) {
			set[name] = sentinel(name)
		}
	}
	given, fallback := composed(t, set), composed(t, nil)
	for _, name := range secret.Variables {
		for service, s := range given.Services {
			if _, ok := s.Environment[name]; ok {
				assert.Contains(t, s.value(t, name), "s3ntinel", "%s of %s", name, service)
				value := fallback.Services[service].value(t, name)
				assert.True(t, value == "" || value == "null" || strings.Contains(value, ":"+development+"@") ||
					value == development+"-development-only", "%s of %s: %s", name, service, value)
			}
		}
	}
}
