package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/functions/internal/testkit/mysqltest"
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

			assert.Contains(t, s.operate(t, "", "outbox list --state sent --schema inventory"), "inventory.reserved")
			assert.Contains(t, s.operate(t, "", "payments list --state refunded"), placed[0].OrderID)
			p.produce(t, s, "order.created", "order-1", "no event at all")
			n := consumers(t, "order.created")
			p.awaitLetters(t, s, n)
			s.operate(t, "", "deadletters discard --all")
			assert.Contains(t, s.operate(t, "", "migrate"), "0 migrations applied")
			p.awaitMetric(t, `orders_by_status{status="FAILED"} 1`)
			for _, name := range schema.WithOutbox {
				assert.Equal(t, http.StatusOK, p.get(t, "/console/outbox/"+name+"/1", nil), name)
			}
			p.awaitMetric(t, `orders_audit_breaches{invariant="holdings"} 0`)
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
