package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// cluster is the running cluster, with the overlay local of this checkout.
type cluster struct {
	// public is the gateway's address for customers, internal the one for functions.
	public, internal string
}

// skus are the SKUs of loads, of which there is always enough stock.
const skus = 20

// open skips the test without a running cluster, and deploys the overlay local of this checkout.
func open(t *testing.T) *cluster {
	t.Helper()
	if os.Getenv("CLUSTER") == "" {
		t.Skip("CLUSTER names no cluster that runs: make cluster")
	}
	c := &cluster{
		public:   "http://" + kubectl(t, "get", "service", "kourier", "-n", "kourier-system", "-o", "jsonpath={.spec.clusterIP}"),
		internal: "http://" + kubectl(t, "get", "service", "kourier-internal", "-n", "kourier-system", "-o", "jsonpath={.spec.clusterIP}"),
	}
	c.deploy(t, "local")
	for i := range skus {
		answer := c.call(t, http.MethodPut, "inventory-api", fmt.Sprintf("/api/inventory/SKU-%d", i), `{"availableQty":1000000}`)
		require.Less(t, answer.status, 300, answer.body)
	}
	return c
}

// long excludes a test from the short half.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("breaks things for minutes: run without -short")
	}
}

// path returns a file in the cluster's folder.
func path(name ...string) string {
	return filepath.Join(append([]string{os.Getenv("CLUSTER")}, name...)...)
}

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return patiently(t, "", args...)
}

// apply applies a manifest to the cluster.
func apply(t *testing.T, manifest string) {
	t.Helper()
	patiently(t, manifest, "apply", "--server-side", "--force-conflicts", "-f", "-")
}

// busy are the messages of an API server that is starved of CPU.
var busy = regexp.MustCompile("request did not complete within|TLS handshake timeout|i/o timeout|etcdserver: ")

// patiently runs kubectl, and retries a few times if the API server is busy.
func patiently(t *testing.T, input string, args ...string) (output string) {
	t.Helper()
	var err error
	for range 5 {
		output, err = fed(t, input, "kubectl", args...)
		if err == nil || !busy.MatchString(err.Error()) {
			break
		}
	}
	require.NoError(t, err)
	return output
}

// command runs a program in the environment of .ci/cluster, and returns its output.
func command(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	return fed(t, "", name, args...)
}

// fed is command with an input.
func fed(t *testing.T, input, name string, args ...string) (string, error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	c := exec.CommandContext(context.WithoutCancel(t.Context()), name, args...) // cleanup runs after the test's context
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(input), &stdout, &stderr
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), nil
}

// deploy applies an overlay and waits until it is ready. It recreates the Job, which cannot be changed.
func (c *cluster) deploy(t *testing.T, overlay string) {
	t.Helper()
	kubectl(t, "delete", "job", "migrate", "-n", "orders", "--ignore-not-found")
	manifest, err := os.ReadFile(path(overlay + ".yaml"))
	require.NoError(t, err)
	apply(t, string(manifest))
	kubectl(t, "wait", "-n", "orders", "job/migrate", "--for", "condition=Complete", "--timeout", "5m")
	kubectl(t, "wait", "-n", "orders", "ksvc", "--all", "--for", "condition=Ready", "--timeout", "10m")
}

// reply is the answer to a request; its status is 0 without one.
type reply struct {
	status int
	body   string
}

var client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 500}}

// call sends a request to a public function through Kourier, like a customer.
func (c *cluster) call(t *testing.T, method, service, resource, body string, header ...string) reply {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, c.public+resource, strings.NewReader(body))
	if err != nil {
		return reply{0, err.Error()}
	}
	request.Host = service + ".orders.127.0.0.1.sslip.io" // by the ConfigMap config-domain
	request.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := client.Do(request)
	if err != nil {
		return reply{0, err.Error()}
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return reply{0, err.Error()}
	}
	return reply{response.StatusCode, string(text)}
}

// ask gets a resource of a function from inside, and returns the status; 0 without an answer.
func (c *cluster) ask(t *testing.T, service, resource string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.internal+resource, nil)
	if err != nil {
		return 0
	}
	request.Host = service + ".orders.svc.cluster.local"
	response, err := client.Do(request)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// order is an order in an answer.
type order struct {
	OrderID string `json:"orderId"`
	Status  string `json:"status"`
}

func (r reply) order(t *testing.T) (o order) {
	t.Helper()
	assert.NoError(t, json.Unmarshal([]byte(r.body), &o), r.body)
	return o
}

// place places an order and returns its id.
func (c *cluster) place(t *testing.T, sku string, quantity int) string {
	t.Helper()
	answer := c.call(t, http.MethodPost, "orders-api", "/api/orders",
		fmt.Sprintf(`{"customerEmail":"alice@example.com","items":[{"sku":%q,"quantity":%d,"unitPrice":1299}]}`, sku, quantity))
	require.Equal(t, http.StatusCreated, answer.status, answer.body)
	return answer.order(t).OrderID
}

func (c *cluster) status(t *testing.T, id string) string {
	t.Helper()
	answer := c.call(t, http.MethodGet, "orders-api", "/api/orders/"+id, "")
	if answer.status != http.StatusOK {
		return strconv.Itoa(answer.status)
	}
	return answer.order(t).Status
}

// await waits until something holds.
func await(t *testing.T, within time.Duration, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(within)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			require.Fail(t, "waited in vain", "%s: %s", within, what)
		}
	}
}

// pods lists the names of a Service's pods that are not terminating.
func pods(t *testing.T, service string) []string {
	t.Helper()
	return strings.Fields(kubectl(t, "get", "pods", "-n", "orders", "-l", "serving.knative.dev/service="+service,
		"-o", `go-template={{range .items}}{{if not .metadata.deletionTimestamp}}{{.metadata.name}} {{end}}{{end}}`))
}

// harness runs a command of the harness as a Job in the cluster, and returns its log and whether it succeeded: on a busy
// node it may not reach its servers at first.
func harness(t *testing.T, args ...string) (log string, succeeded bool) {
	t.Helper()
	name := "harness-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	quoted, err := json.Marshal(args)
	require.NoError(t, err)
	apply(t, fmt.Sprintf(`
apiVersion: batch/v1
kind: Job
metadata: {name: %s, namespace: orders}
spec:
  backoffLimit: 2
  template:
    metadata: {labels: {orders.example.com/tool: harness}}
    spec:
      restartPolicy: Never
      automountServiceAccountToken: false
      containers:
        - name: harness
          image: dev.local/harness:current
          args: %s
          env:
            - {name: MYSQL_DSN, valueFrom: {secretKeyRef: {name: orders-mysql, key: admin}}}
            - {name: MYSQL_ALLOW_PLAINTEXT, value: "true"}
            - {name: KAFKA_BROKERS, valueFrom: {secretKeyRef: {name: orders-kafka, key: brokers}}}
            - {name: FUNCTIONS_TOKEN, valueFrom: {secretKeyRef: {name: orders-sink, key: token, optional: true}}}
            - {name: FUNCTIONS_URL, value: "http://{consumer}.orders.svc.cluster.local"}
          securityContext:
            allowPrivilegeEscalation: false
            runAsNonRoot: true
            capabilities: {drop: [ALL]}
            seccompProfile: {type: RuntimeDefault}
`, name, quoted))
	ended := ""
	await(t, 5*time.Minute, "the end of harness "+strings.Join(args, " "), func() bool {
		ended = kubectl(t, "get", "job", name, "-n", "orders", "-o", "jsonpath={.status.succeeded}/{.status.failed}")
		return strings.HasPrefix(ended, "1/") || ended == "/3"
	})
	log = kubectl(t, "logs", "-n", "orders", "job/"+name)
	kubectl(t, "delete", "job", name, "-n", "orders")
	return log, strings.HasPrefix(ended, "1/")
}

// audit asserts by an audit from inside that nothing was lost, duplicated or oversold.
func audit(t *testing.T) {
	t.Helper()
	log, clean := harness(t, "audit", "--grace", "15s")
	assert.True(t, clean, log)
}
