package cluster

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// logins are the entries of the Secret orders-mysql: an administrator's and each user's.
func logins() string {
	var text strings.Builder
	fmt.Fprint(&text, `  admin: "orders:orders@tcp(mysql.orders:3306)/?tls=true"`)
	for _, user := range []string{
		"orders-api", "create-order", "cancel-order", "inventory-api", "reserve-stock", "release-stock", "finalize-order", "expire-orders", "notify",
		"publish-outbox-orders", "publish-outbox-inventory", "publish-outbox-payments", "authorize-payment", "refund-payment", "audit", "console", "operator",
	} {
		fmt.Fprintf(&text, "\n  %s: \"%s:secret-of-%s@tcp(mysql.orders:3306)/?tls=true\"", user, user, user)
	}
	return text.String()
}

// relays are the Secrets of the relays, which log in to Kafka each as its own principal.
func relays() string {
	var text strings.Builder
	for _, name := range []string{"publish-outbox-orders", "publish-outbox-inventory"} {
		fmt.Fprintf(&text, "---\napiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: orders}\nstringData: {user: %[1]s, password: secret-of-%[1]s}\n", name)
	}
	return text.String()
}

// TestProductionRunsWithTLSAndSASL deploys the overlay production with the objects that the README lists: the functions
// reach the database with TLS, as a user with minimal rights, and the relays reach the brokers with TLS and SASL, both with
// certificates of a private authority. The stand-ins of sources and sinks use another listener.
func TestProductionRunsWithTLSAndSASL(t *testing.T) {
	long(t)
	c := open(t)
	authority, err := os.ReadFile(path("pki", "ca.crt"))
	require.NoError(t, err)
	indented := "    " + strings.ReplaceAll(strings.TrimSpace(string(authority)), "\n", "\n    ")
	apply(t, fmt.Sprintf(`
apiVersion: v1
kind: Secret
metadata: {name: orders-mysql, namespace: orders}
stringData:
%s
---
apiVersion: v1
kind: Secret
metadata: {name: orders-kafka, namespace: orders}
stringData:
  brokers: orders-kafka-bootstrap.kafka:9093
  sasl.mechanism: SCRAM-SHA-512
  ca.crt: |
%s
%s---
apiVersion: v1
kind: Secret
metadata: {name: orders-relay, namespace: orders}
stringData: {token: token-of-the-test-cluster}
---
apiVersion: v1
kind: Secret
metadata: {name: orders-sink, namespace: orders}
stringData: {token: token-of-the-test-cluster}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: orders-trust, namespace: orders}
data:
  ca.crt: |
%s
---
apiVersion: v1
kind: ConfigMap
metadata: {name: orders-login, namespace: orders}
data: {issuer: "", audience: ""} # nobody logs in
`, logins(), indented, relays(), indented))

	c.deploy(t, "production")
	id := c.place(t, "SKU-1", 1)
	await(t, 2*time.Minute, "an order is confirmed", func() bool { return c.status(t, id) == "CONFIRMED" })

	awaited := strings.Fields(kubectl(t, "get", "pdb", "-n", "orders", "-o", "jsonpath={.items[*].metadata.name}"))
	assert.Len(t, awaited, 7)
	for _, service := range awaited {
		await(t, 2*time.Minute, "two pods of "+service, func() bool { return len(pods(t, service)) >= 2 })
	}

	// Draining a node takes one of two pods at a time.
	await(t, time.Minute, "a pod may go", func() bool {
		return kubectl(t, "get", "pdb", "orders-api", "-n", "orders", "-o", "jsonpath={.status.disruptionsAllowed}") == "1"
	})
	two := pods(t, "orders-api")
	require.NoError(t, evict(t, two[0]))
	assert.ErrorContains(t, evict(t, two[1]), "would violate the pod's disruption budget")
	for range 20 {
		id := c.place(t, "SKU-1", 1)
		await(t, time.Minute, "an order is confirmed", func() bool { return c.status(t, id) == "CONFIRMED" })
	}
	await(t, 2*time.Minute, "a pod has come in its place", func() bool {
		now := pods(t, "orders-api")
		return len(now) == 2 && !slices.Contains(now, two[0])
	})
}

// evict requests the eviction of a pod, like the draining of a node.
func evict(t *testing.T, pod string) error {
	t.Helper()
	file := t.TempDir() + "/eviction.json"
	require.NoError(t, os.WriteFile(file, []byte(`{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"`+pod+`","namespace":"orders"}}`), 0o600))
	_, err := command(t, "kubectl", "create", "--raw", "/api/v1/namespaces/orders/pods/"+pod+"/eviction", "-f", file)
	return err
}
