package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/operate/bench"
	"example.com/orders/functions/internal/testkit/kafkatest"
)

// secured has every variable of a harness, and two secrets.
var secured = map[string]string{
	"MYSQL_DSN": "shop:s3cret@tcp(db:3306)/?tls=skip-verify", "MYSQL_SCHEMA_PREFIX": "shop_",
	"KAFKA_BROKERS": "a:9093,b:9093", "KAFKA_TOPIC_PREFIX": "shop.", "KAFKA_TLS": "1",
	"KAFKA_SASL_MECHANISM": "SCRAM-SHA-512", "KAFKA_SASL_USER": "shop", "KAFKA_SASL_PASSWORD": "s3cret",
	"SAGA_TIMEOUT": "1h", "OUTBOX_RETENTION": "24h",
}

// announced runs a harness with these variables on a new folder.
func announced(t *testing.T, config map[string]string) (folder string, end func()) {
	t.Helper()
	folder = t.TempDir()
	data, err := openData(options{data: folder})
	require.NoError(t, err)
	require.NoError(t, data.announce(&servers{config: config}, "127.0.0.1:8080", nil))
	ended := false
	end = func() {
		if !ended {
			require.NoError(t, data.close())
		}
		ended = true
	}
	t.Cleanup(end)
	return folder, end
}

func TestTheRunFileHoldsNoSecrets(t *testing.T) {
	folder, end := announced(t, secured)
	for range 2 {
		path := filepath.Join(folder, runName)
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.NotContains(t, string(text), "s3cret")
		assert.Contains(t, string(text), "shop@tcp(db:3306)/?tls=skip-verify")
		file, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), file.Mode())
		end()
	}
}

func TestACommandHasTheVariablesOfTheHarnessOnItsFolder(t *testing.T) {
	folder, end := announced(t, secured)
	// A command needs only the secrets.
	given := map[string]string{"MYSQL_DSN": secured["MYSQL_DSN"], "KAFKA_SASL_PASSWORD": "s3cret", "LANG": "C"}
	for _, api := range []string{"http://127.0.0.1:8080", ""} {
		d, err := locate(options{data: folder, dataNamed: true, environ: given}, needsDatabase|needsKafka)
		require.NoError(t, err)
		for name, value := range secured {
			if name == "KAFKA_TLS" {
				value = "true"
			}
			assert.Equal(t, value, d.config[name], name)
		}
		assert.Equal(t, "C", d.config["LANG"])
		assert.Equal(t, api, d.api, "which is there while it runs")
		assert.Len(t, given, 3, "the environment stays as it is")
		end()
	}
}

func TestACommandIsRefusedWithVariablesOfAnotherDeployment(t *testing.T) {
	running, _ := announced(t, secured)
	plain, _ := announced(t, map[string]string{"MYSQL_DSN": "root@tcp(db:3306)/", "KAFKA_BROKERS": "a:9092"})
	cases := map[string]struct {
		folder, name, value string
		says                string
	}{
		"server":         {running, "MYSQL_DSN", "shop:s3cret@tcp(other:3306)/?tls=skip-verify", `MYSQL_DSN is "shop@tcp(other:3306)/?tls=skip-verify" here and "shop@tcp(db:3306)/?tls=skip-verify" there`},
		"user":           {running, "MYSQL_DSN", "root:s3cret@tcp(db:3306)/?tls=skip-verify", "MYSQL_DSN"},
		"no TLS":         {running, "MYSQL_DSN", "shop:s3cret@tcp(db:3306)/", "MYSQL_DSN"},
		"neither":        {plain, "KAFKA_TLS", "yes", `KAFKA_TLS is "yes": give true or false`},
		"no DSN":         {running, "MYSQL_DSN", "shop:s3cret", "MYSQL_DSN is not of the form"},
		"schemas":        {running, "MYSQL_SCHEMA_PREFIX", "other_", `MYSQL_SCHEMA_PREFIX is "other_" here and "shop_" there`},
		"schemas, plain": {plain, "MYSQL_SCHEMA_PREFIX", "other_", `MYSQL_SCHEMA_PREFIX is "other_" here and not set there`},
		"brokers":        {running, "KAFKA_BROKERS", "c:9093", "KAFKA_BROKERS"},
		"topics":         {running, "KAFKA_TOPIC_PREFIX", "other.", "KAFKA_TOPIC_PREFIX"},
		"Kafka's TLS":    {running, "KAFKA_TLS", "false", "KAFKA_TLS"},
		"TLS, plain":     {plain, "KAFKA_TLS", "true", "KAFKA_TLS"},
		"mechanism":      {running, "KAFKA_SASL_MECHANISM", "PLAIN", "KAFKA_SASL_MECHANISM"},
		"saga":           {running, "SAGA_TIMEOUT", "5m", "SAGA_TIMEOUT"},
		"retention":      {plain, "OUTBOX_RETENTION", "1h", "OUTBOX_RETENTION"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			environ := map[string]string{c.name: c.value}
			_, err := locate(options{data: c.folder, environ: environ}, needsDatabase)
			require.ErrorContains(t, err, c.says)
			assert.NotContains(t, err.Error(), "s3cret")
			d, err := locate(options{data: c.folder, environ: environ, ephemeral: true}, needsDatabase)
			require.NoError(t, err, "the environment alone counts")
			assert.Equal(t, environ, d.config)
		})
	}
}

func TestACommandLogsInToKafkaAsWhomItWants(t *testing.T) {
	folder, _ := announced(t, secured)
	d, err := locate(options{data: folder, environ: map[string]string{"KAFKA_SASL_USER": "operator", "KAFKA_SASL_PASSWORD": "another"}}, needsKafka)
	require.NoError(t, err)
	assert.Equal(t, []string{"SCRAM-SHA-512", "operator", "another"},
		[]string{d.config["KAFKA_SASL_MECHANISM"], d.config["KAFKA_SASL_USER"], d.config["KAFKA_SASL_PASSWORD"]})
}

func TestACommandNamesTheSecretItNeeds(t *testing.T) {
	folder, _ := announced(t, secured)
	_, err := locate(options{data: folder, environ: map[string]string{"KAFKA_SASL_PASSWORD": "s3cret"}}, needsDatabase|needsKafka)
	assert.ErrorContains(t, err, "set MYSQL_DSN='shop:PASSWORD@tcp(db:3306)/?tls=skip-verify'")
	_, err = locate(options{data: folder, environ: map[string]string{"MYSQL_DSN": secured["MYSQL_DSN"]}}, needsDatabase|needsKafka)
	assert.ErrorContains(t, err, "set KAFKA_SASL_PASSWORD")
	_, err = locate(options{data: folder, environ: map[string]string{"MYSQL_DSN": secured["MYSQL_DSN"]}}, needsDatabase)
	assert.NoError(t, err, "Kafka is not needed")
	_, err = locate(options{data: folder, environ: map[string]string{"KAFKA_SASL_PASSWORD": "s3cret"}}, needsKafka)
	assert.NoError(t, err, "the database is not needed")
}

func TestTheFolderOfAHarnessThatHasEndedCountsWhenItIsNamedOrNeeded(t *testing.T) {
	folder, end := announced(t, map[string]string{"MYSQL_DSN": "root@tcp(db:3306)/", "MYSQL_SCHEMA_PREFIX": "shop_", "KAFKA_BROKERS": "a:9092"})
	end()
	other := map[string]string{"MYSQL_DSN": "root@tcp(other:3306)/"}
	d, err := locate(options{data: folder, environ: other}, needsDatabase)
	require.NoError(t, err)
	assert.Equal(t, other, d.config, "it is not")
	_, err = locate(options{data: folder, environ: other}, needsDatabase|needsKafka)
	assert.ErrorContains(t, err, "MYSQL_DSN", "it is needed for Kafka")
	_, err = locate(options{data: folder, dataNamed: true, environ: other}, needsDatabase)
	assert.ErrorContains(t, err, "MYSQL_DSN", "it is named")
	d, err = locate(options{data: folder, environ: map[string]string{}}, needsDatabase)
	require.NoError(t, err)
	assert.Equal(t, "shop_", d.config["MYSQL_SCHEMA_PREFIX"], "it is needed for the database")
}

func TestServersOfItsOwnEndWithAHarness(t *testing.T) {
	own := runFile{DSN: "root@unix(/d/mysql.sock)/", Brokers: "127.0.0.1:19092", Own: []string{"MYSQL_DSN", "KAFKA_BROKERS"}, Variables: map[string]string{"MYSQL_SCHEMA_PREFIX": "shop_"}}
	assert.Equal(t, map[string]string{"MYSQL_DSN": own.DSN, "KAFKA_BROKERS": own.Brokers, "MYSQL_SCHEMA_PREFIX": "shop_"}, own.variables(true))
	assert.Equal(t, map[string]string{"MYSQL_SCHEMA_PREFIX": "shop_"}, own.variables(false))
}

func TestACommandTrustsTheCertificatesOfTheHarness(t *testing.T) {
	t.Setenv("SSL_CERT_FILE", "")
	t.Setenv("SSL_CERT_DIR", "")
	t.Chdir(t.TempDir())
	here, err := os.Getwd()
	require.NoError(t, err)
	folder, _ := announced(t, map[string]string{"MYSQL_DSN": "root@tcp(db:3306)/", "SSL_CERT_FILE": "ca.pem", "SSL_CERT_DIR": "/certificates:more"})
	d, err := locate(options{data: folder, environ: map[string]string{"SSL_CERT_FILE": "/mine.pem"}}, needsDatabase)
	require.NoError(t, err)
	assert.Equal(t, "/mine.pem", d.config["SSL_CERT_FILE"], "who trusts others reaches the same deployment")
	assert.Empty(t, os.Getenv("SSL_CERT_FILE"))
	assert.Equal(t, "/certificates:"+here+"/more", os.Getenv("SSL_CERT_DIR"), "crypto/x509 reads it there")
}

func TestAFolderIsNamedByTheFlagOrTheVariable(t *testing.T) {
	cases := map[string]struct {
		environ   map[string]string
		args      []string
		data      string
		named     bool
		ephemeral bool
	}{
		"by neither":                      {data: defaultData()},
		"by the flag":                     {args: []string{"--data", "/d"}, data: "/d", named: true},
		"by the variable":                 {environ: map[string]string{"HARNESS_DATA": "/v"}, data: "/v", named: true},
		"ephemeral by the variable":       {environ: map[string]string{"HARNESS_EPHEMERAL": "1"}, data: defaultData(), ephemeral: true},
		"the flag stands before that":     {environ: map[string]string{"HARNESS_EPHEMERAL": "true"}, args: []string{"--data", "/d"}, data: "/d", named: true},
		"a flag stands beside the other":  {args: []string{"--data", "/d", "--ephemeral"}, data: "/d", named: true, ephemeral: true},
		"ephemeral no by the variable, 0": {environ: map[string]string{"HARNESS_EPHEMERAL": "0"}, data: defaultData()},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			for name, value := range c.environ {
				t.Setenv(name, value)
			}
			o, flags := newOptions(), pflag.NewFlagSet("audit", pflag.ContinueOnError)
			o.flags(flags)
			require.NoError(t, flags.Parse(c.args))
			require.NoError(t, o.check(flags))
			assert.Equal(t, []any{c.data, c.named, c.ephemeral}, []any{o.data, o.dataNamed, o.ephemeral})
		})
	}
}

// secrets has the variables that a command on the folder of s needs, since no harness stores them.
func (s stack) secrets() (environ []string) {
	for _, name := range []string{"KAFKA_SASL_PASSWORD", kafka.UsersVariable} {
		environ = append(environ, name+"="+s.variable(name))
	}
	return environ
}

func TestCommandsActOnTheHarnessOfTheirFolderWhateverTheShellSays(t *testing.T) {
	t.Parallel()
	ours := newStack(t)
	ours.data = filepath.Join(ours.data, "a@b:c #d?e%20f")
	if ours.topicPrefix() == "" {
		ours.environ = append(ours.environ, "KAFKA_TOPIC_PREFIX=ours.")
	}
	if ours.variable("MYSQL_SCHEMA_PREFIX") == "" {
		ours.environ = append(ours.environ, "MYSQL_SCHEMA_PREFIX=ours_")
	}
	up := ours
	if !kafkatest.Given() {
		up.environ = append(up.environ, "KAFKA_TLS=true") // which its own Kafka does not use
	}
	p := up.up(t)
	run, err := readRun(ours.data)
	require.NoError(t, err)
	// Another tenant of the same servers.
	theirs := newStack(t)
	theirs.environ = append(theirs.environ, "MYSQL_DSN="+or(os.Getenv("MYSQL_DSN"), run.DSN), "KAFKA_BROKERS="+run.Brokers)
	q := theirs.up(t)
	placed := p.place(t, "SKU-123", 1)
	p.awaitStatus(t, placed.OrderID, "CONFIRMED")
	for range 3 {
		q.awaitStatus(t, q.place(t, "SKU-123", 1).OrderID, "CONFIRMED")
	}

	secrets := ours.secrets()
	bare := stack{data: ours.data, environ: secrets} // a shell without any other variables
	sent := func(n int) func() bool {
		return func() bool {
			sent := 0
			for _, row := range lines[rowView](t, bare.operate(t, "", "outbox list --json --state sent --schema orders")) {
				if strings.HasPrefix(row.Type, "order.") {
					sent++
				}
			}
			return sent == n
		}
	}
	p.await(t, "order.created and order.confirmed are marked as sent", sent(2))
	p.produce(t, ours, "order.created", "order-1", "no event at all")
	n := consumers(t, "order.created")
	letter := p.awaitLetters(t, bare, n)[0]
	assert.Equal(t, ours.topicPrefix()+"order.created.dlq", letter.Topic)
	assert.Contains(t, bare.operate(t, "", "deadletters replay --all --dry-run --topic order.created"), counted(n, "letter", "letters")+" would be replayed")
	assert.Contains(t, bare.operate(t, "", "deadletters replay --all --dry-run"), p.url+"/functions/reserve-stock")
	bare.operate(t, "", "deadletters discard --all")
	assert.Contains(t, bare.operate(t, "", "migrate"), "0 migrations applied")
	assert.Contains(t, bare.operate(t, "", "audit --grace 0s"), "0 breaches")
	assert.Contains(t, bare.operate(t, "", "health"), "UP")
	bare.environ = append(slices.Clone(secrets), "HARNESS_EPHEMERAL=true")
	assert.True(t, sent(2)(), "it is for those who name no folder")

	beside := stack{data: ours.data, environ: []string{"MYSQL_SCHEMA_PREFIX=beside_"}} // the shell of another tenant
	for _, command := range []string{"outbox purge --dry-run --older-than 1ns", "deadletters list", "audit", "migrate", "bench --running --orders 1"} {
		beside.operate(t, "the environment describes another deployment than the harness on "+ours.data, command)
	}
	bare.environ = append(slices.Clone(secrets), "FUNCTIONS_URL="+q.url+"/functions/{consumer}")
	bare.operate(t, "FUNCTIONS_URL", "deadletters replay --all")
	bare.environ = secrets
	var r bench.Report
	require.NoError(t, json.Unmarshal([]byte(bare.operate(t, "", "bench --running --json --warmup 1 --orders 2")), &r))
	assert.Equal(t, []any{2, p.url}, []any{r.Confirmed, r.Stack.API})

	p.await(t, "the events of bench are marked as sent", sent(8))
	q.stop(t)
	p.kill(t)
	bare.operate(t, "no harness is running on "+ours.data, "health")
	assert.True(t, sent(8)(), "what it worked on is known yet")
	assert.Contains(t, bare.operate(t, "", "audit --grace 0s"), "0 breaches")
	p = ours.up(t)
	assert.Equal(t, http.StatusOK, p.get(t, "/api/orders/"+placed.OrderID, nil))
}
