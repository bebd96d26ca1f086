package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/observe/health"
	"example.com/orders/functions/internal/operate/bench"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/knative"
	"example.com/orders/sql/privilege"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/servertest"
)

// apart returns a stack with a server of its own for each schema.
func apart(t *testing.T, prefix string, servers map[string]schema.Server) stack {
	t.Helper()
	s := stack{data: t.TempDir(), environ: []string{
		eventVersion(t), "MYSQL_DSN=", "MYSQL_SCHEMA_PREFIX=" + prefix, privilege.SecretVariable + "=secret-of-the-tests",
	}}
	if kafkatest.Given() {
		s.environ = append(s.environ, kafkatest.ForProcesses(t).Environ()...)
	}
	for name, server := range servers {
		s.environ = append(s.environ, schema.VariableOf(name)+"="+server.DSN)
	}
	return s
}

// schemasOn lists the schemas with a prefix on a server.
func schemasOn(t *testing.T, server schema.Server, prefix string) (names []string) {
	t.Helper()
	db := mysqltest.Pool(t, server, "")
	rows, err := db.QueryContext(t.Context(), "SELECT schema_name FROM information_schema.schemata")
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Close()) }()
	for rows.Next() {
		var name string
		require.NoError(t, rows.Scan(&name))
		if own, ours := strings.CutPrefix(name, prefix); ours {
			names = append(names, own)
		}
	}
	require.NoError(t, rows.Err())
	return names
}

func TestOrdersFlowWithAServerForEachSchema(t *testing.T) {
	t.Parallel()
	servers := map[string]schema.Server{}
	for _, name := range schema.All {
		servers[name] = servertest.Start(t)
	}
	for name, c := range map[string]struct {
		prefix string
		args   []string
	}{
		"in one process":     {"one_", nil},
		"a process for each": {"each_", []string{"--deployed"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := apart(t, c.prefix, servers)
			p := s.up(t, append([]string{"--overlay", "payment", "--audit-interval", "20ms"}, c.args...)...)

			var placed [20]order
			functiontest.Concurrently(len(placed), func(i int) {
				placed[i] = p.place(t, "SKU-123", 1)
				if i%2 == 0 {
					var canceled order
					p.do(t, http.MethodPost, "/api/orders/"+placed[i].OrderID+"/cancel", nil, "", &canceled)
				}
			})
			for i, o := range placed {
				p.awaitStatus(t, o.OrderID, map[bool]string{true: "CANCELED", false: "CONFIRMED"}[i%2 == 0])
			}
			p.await(t, "the stock of the canceled orders is back", func() bool { return p.level(t, "SKU-123") == level{90, 10} })
			failed := p.place(t, "SKU-789", 6)
			p.awaitStatus(t, failed.OrderID, "FAILED")
			for name, server := range servers {
				assert.Equal(t, []string{name}, schemasOn(t, server, c.prefix))
			}

			for command, row := range map[string]string{
				"outbox list --state sent --schema inventory": "inventory.reserved",
				"payments list --state refunded":              placed[0].OrderID,
			} {
				p.await(t, command, func() bool { return strings.Contains(s.operate(t, "", command), row) })
			}
			p.produce(t, s, "order.created", "order-1", "no event at all")
			n := consumers(t, "order.created")
			p.awaitLetters(t, s, n)
			s.operate(t, "", "deadletters discard --all")
			assert.Contains(t, s.operate(t, "", "migrate"), "0 migrations applied")
			p.awaitMetric(t, `orders_by_status{status="FAILED"} 1`)
			for _, name := range schema.WithOutbox {
				assert.Equal(t, http.StatusOK, p.get(t, "/console/outbox/"+name+"/1", nil), name)
			}
			p.awaitAudited(t, `orders_audit_breaches{invariant="holdings"} 0`)
			p.audit(t)
			p.stop(t)
			p.audit(t)
			assert.NotContains(t, p.said(t), "audit found a breach")
			assert.NotContains(t, p.log.String(), "audit not possible")

			run, err := os.ReadFile(filepath.Join(s.data, runName))
			require.NoError(t, err)
			assert.Contains(t, string(run), "MYSQL_DSN_INVENTORY")
			assert.Contains(t, s.operate(t, "", "forget --email alice@example.com --yes"), "orders.orders: 21 rows changed")
			p.audit(t)
		})
	}
}

// In one process finalize-order does not read an order that create-order has just stored.
func TestAnOrderThatComesAloneIsNotReadAgain(t *testing.T) {
	t.Parallel()
	server, servers := servertest.Start(t, "--general-log=ON", "--log-output=TABLE"), map[string]schema.Server{}
	for _, name := range schema.All {
		servers[name] = server
	}
	p := apart(t, "alone_", servers).up(t)
	for range 5 { // an attempt that meets another one is repeated with a look
		p.awaitStatus(t, p.place(t, "SKU-123", 1).OrderID, "CONFIRMED")
	}
	log := mysqltest.Pool(t, server, "")
	changed := "SELECT COUNT(*) FROM mysql.general_log WHERE argument LIKE '%name: SetStatusFrom %' AND argument NOT LIKE 'SELECT%'"
	assert.Positive(t, mysqltest.Count(t, log, changed))
}

func TestBenchMeasuresSeveralServersAndLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	rest, stock := servertest.Start(t), servertest.Start(t)
	environ := append(kafkatest.ForProcesses(t).Environ(), "MYSQL_DSN="+rest.DSN, "MYSQL_DSN_INVENTORY="+stock.DSN, "MYSQL_SCHEMA_PREFIX=",
		"KAFKA_TOPIC_PREFIX=", "TMPDIR="+t.TempDir(), eventVersion(t))
	var r bench.Report

	b := runBench(t, environ, &r, "--orders", "40", "--members", "2", "--partitions", "4", "--floor", "--floor-for", "50ms")

	assert.Equal(t, []int{40, 40, 0, 0}, []int{r.Accepted, r.Confirmed, r.Failed, r.Lost})
	assert.Contains(t, r.Stack.Database, "2 servers, ")
	require.NotNil(t, r.Audit, b.log.String())
	assert.Zero(t, r.Audit.Breaches())
	for _, server := range []schema.Server{rest, stock} {
		assert.Empty(t, schemasOn(t, server, "bench"))
	}
}

func TestASchemaWithoutAServerIsNamedAtTheStart(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts a harness: run without -short")
	}
	for command, brokers := range map[string]string{"up": "", "migrate": "", "outbox list": "", "audit": "127.0.0.1:1"} {
		said := launchAndEnd(t, []string{
			"MYSQL_DSN=", "MYSQL_DSN_ORDERS=root@tcp(127.0.0.1:1)/", "KAFKA_BROKERS=" + brokers, "MYSQL_SCHEMA_PREFIX=", privilege.SecretVariable + "=",
		}, append(strings.Fields(command), "--data", t.TempDir())...)
		assert.Regexp(t, "the schema (inventory|operations) has no server: set MYSQL_DSN_(INVENTORY|OPERATIONS), or MYSQL_DSN for all schemas", said, command)
	}
}

func TestConnectorsFollowOneServerOnly(t *testing.T) {
	here := map[string]string{"MYSQL_DSN": "root@tcp(127.0.0.1:1)/"}
	connectors, err := captured(map[string]string{knative.OverlayVariable: "cdc"})
	require.NoError(t, err)
	require.NoError(t, onOneServer(nil, connectors))
	require.NoError(t, onOneServer(here, connectors))
	here["MYSQL_DSN_INVENTORY"] = "stock:secret@tcp(127.0.0.1:1)/"
	require.NoError(t, onOneServer(here, connectors), "it is the same server")
	here["MYSQL_DSN_PAYMENTS"] = "root@tcp(127.0.0.1:2)/"
	require.NoError(t, onOneServer(here, connectors), "no connector follows its outbox")
	here["MYSQL_DSN_INVENTORY"] = "stock:secret@tcp(127.0.0.1:2)/"
	err = onOneServer(here, connectors)
	require.ErrorContains(t, err, "the outboxes are on 2, those of MYSQL_DSN, MYSQL_DSN_INVENTORY: put them on one server, or have relays publish")
	assert.NotContains(t, err.Error(), "secret")
}

// divided has a DSN with a secret for one schema.
var divided = map[string]string{
	"MYSQL_DSN": "shop:s3cret@tcp(db:3306)/?tls=true", "MYSQL_DSN_INVENTORY": "stock:s3cret@tcp(stock:3306)/?tls=true", "KAFKA_BROKERS": "a:9092",
}

func TestTheRunFileHasTheServersOfSchemasWithoutTheirSecrets(t *testing.T) {
	folder, _ := announced(t, divided)
	text, err := os.ReadFile(filepath.Join(folder, runName))
	require.NoError(t, err)
	assert.NotContains(t, string(text), "s3cret")
	assert.Contains(t, string(text), "stock@tcp(stock:3306)")

	d, err := locate(options{data: folder, dataNamed: true, environ: divided}, needsDatabase)
	require.NoError(t, err)
	assert.Equal(t, divided["MYSQL_DSN_INVENTORY"], d.config["MYSQL_DSN_INVENTORY"])
	for name, c := range map[string]struct{ variable, value, says string }{
		"another server": {"MYSQL_DSN_INVENTORY", "stock:s3cret@tcp(other:3306)/?tls=true", "MYSQL_DSN_INVENTORY is"},
		"another schema": {"MYSQL_DSN_ORDERS", "shop:s3cret@tcp(db:3306)/?tls=true", "and not set there"},
		"no password":    {"MYSQL_DSN", divided["MYSQL_DSN"], "set MYSQL_DSN_INVENTORY='stock:PASSWORD@tcp(stock:3306)/?tls=true' with it"},
		"not a DSN":      {"MYSQL_DSN_INVENTORY", "s3cret", "MYSQL_DSN_INVENTORY is not of the form"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := locate(options{data: folder, dataNamed: true, environ: map[string]string{c.variable: c.value}}, needsDatabase)
			require.ErrorContains(t, err, c.says)
			assert.NotContains(t, err.Error(), "s3cret")
		})
	}
	_, err = locate(options{data: folder, dataNamed: true, environ: map[string]string{}}, needsDatabase)
	require.ErrorContains(t, err, "set MYSQL_DSN='shop:PASSWORD@tcp(db:3306)/?tls=true' and MYSQL_DSN_INVENTORY='stock:PASSWORD@")
}

func TestACommandReadsTheFileOfASchemasServer(t *testing.T) {
	file := filepath.Join(t.TempDir(), "stock")
	require.NoError(t, os.WriteFile(file, []byte(divided["MYSQL_DSN_INVENTORY"]), 0o600))
	folder, _ := announced(t, map[string]string{"MYSQL_DSN": "root@tcp(127.0.0.1:1)/", "MYSQL_DSN_INVENTORY_FILE": file})

	d, err := locate(options{data: folder, dataNamed: true, environ: map[string]string{}}, needsDatabase)

	require.NoError(t, err)
	server, _, err := base.Server(d.config)
	require.NoError(t, err)
	of, err := server.Of(schema.Inventory)
	require.NoError(t, err)
	assert.Equal(t, divided["MYSQL_DSN_INVENTORY"], of.DSN)
}

func TestAFunctionGetsTheLoginToTheServerOfItsSchemaOnly(t *testing.T) {
	config := map[string]string{privilege.SecretVariable: "secret-of-the-tests"}
	for n, name := range schema.All {
		config[schema.VariableOf(name)] = "root:admin@tcp(127.0.0.1:" + strconv.Itoa(n+1) + ")/"
	}
	logins, err := readLogins(config)
	require.NoError(t, err)
	s := &servers{config: config, logins: logins}
	for user, names := range map[string][]string{
		"reserve-stock": {schema.Inventory}, "publish-outbox-orders": {schema.Orders}, privilege.Audit: schema.All, privilege.Console: schema.All,
	} {
		as, err := s.as(user)
		require.NoError(t, err)
		assert.NotContains(t, as, privilege.SecretVariable)
		given := givenDatabases(as)
		for _, name := range names {
			variable := schema.VariableOf(name)
			assert.Contains(t, given, variable)
			assert.NotContains(t, as[variable], "admin")
		}
		assert.Len(t, given, len(names), user)
	}
}

func TestAnOutageOfOneServerNamesItsSchemas(t *testing.T) {
	away := func(text string) *health.Check {
		return &health.Check{Ask: func(context.Context) error { return errors.New(text) }}
	}
	well := &health.Check{Ask: func(context.Context) error { return nil }}
	several := schema.Server{DSN: "root@tcp(127.0.0.1:1)/", Own: map[string]schema.Own{schema.Inventory: {DSN: "root@tcp(127.0.0.1:2)/"}}}
	for name, c := range map[string]struct {
		server schema.Server
		checks map[string]*health.Check
		says   string
	}{
		"one of two servers":  {several, map[string]*health.Check{schema.Orders: well, schema.Inventory: away("2 is away")}, "inventory: 2 is away"},
		"both, each its own":  {several, map[string]*health.Check{schema.Orders: away("1 is away"), schema.Inventory: away("2 is away")}, "inventory: 2 is away\norders: 1 is away"},
		"the one that is all": {schema.Server{}, map[string]*health.Check{schema.Orders: away("it is away"), schema.Inventory: away("it is away")}, "it is away"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.EqualError(t, (&pools{server: c.server, checks: c.checks}).err(t.Context()), c.says)
		})
	}
}
