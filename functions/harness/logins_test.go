package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/knative"
	"example.com/orders/sql/privilege"
	"example.com/orders/sql/schema"
)

// connections counts the connections of each database user of a running harness.
func (p *process) connections(t *testing.T) map[string]int {
	t.Helper()
	run, err := readRun(p.stack.data)
	require.NoError(t, err)
	prefix := p.stack.variable("MYSQL_SCHEMA_PREFIX")
	db, err := schema.Server{DSN: run.DSN}.Open("", 1)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	_, rows := mysqltest.Values(t, db, "SHOW PROCESSLIST")
	logins := map[string]string{}
	for _, user := range privilege.Names() {
		logins[privilege.Login(prefix, user)] = user
	}
	counts := map[string]int{}
	for _, values := range rows {
		login, in := values[1].String, values[3].String
		if user, ok := logins[login]; ok {
			counts[user]++
		} else if in != "" && strings.HasPrefix(in, prefix) {
			counts["the administrator"]++
		}
	}
	return counts
}

func TestEachFunctionLogsInToTheDatabaseAsItsOwnUser(t *testing.T) {
	t.Parallel()
	p := newStack(t).up(t)
	functiontest.Concurrently(100, func(int) { p.place(t, "SKU-123", 1) })
	p.awaitStatus(t, p.place(t, "SKU-456", 1).OrderID, "CONFIRMED")

	counts := p.connections(t)

	t.Logf("connections: %v", counts)
	wiring, err := knative.LoadOverlay(knative.Manifests(), "")
	require.NoError(t, err)
	total := 0
	for user, n := range counts {
		most := 8
		if user == privilege.Console {
			most = toolConns * len(schema.All)
		}
		assert.LessOrEqual(t, n, most, user)
		total += n
	}
	for _, service := range wiring.Services {
		assert.NotZero(t, counts[service.Name], "%s is not connected", service.Name)
	}
	assert.NotZero(t, counts[privilege.Console])
	assert.Zero(t, counts["the administrator"])
	assert.Less(t, total, 151, "what MySQL takes by default")
}
