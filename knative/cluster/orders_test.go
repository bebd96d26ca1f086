package cluster

import (
	"bufio"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAnOrderThroughKourierIsConfirmed(t *testing.T) {
	c := open(t)

	short := c.place(t, "SKU-NOBODY-HAS", 1)
	const orders = 30
	took := make([]time.Duration, orders)
	for i := range took {
		begin := time.Now()
		id := c.place(t, "SKU-1", 1)
		await(t, 2*time.Minute, "an order is confirmed", func() bool { return c.status(t, id) == "CONFIRMED" })
		took[i] = time.Since(begin)
		if i == 0 {
			require.Equal(t, http.StatusOK, c.call(t, http.MethodPost, "orders-api", "/api/orders/"+id+"/cancel", "").status)
			assert.Equal(t, "CANCELED", c.status(t, id))
		}
	}
	await(t, time.Minute, "an order without stock fails", func() bool { return c.status(t, short) == "FAILED" })
	t.Logf("POST to CONFIRMED, looked at every 200 ms: the first one %s", took[0].Round(time.Millisecond))
	slices.Sort(took)
	t.Logf("half of the orders within %s, all but one within %s", took[orders/2].Round(time.Millisecond), took[orders-2].Round(time.Millisecond))
	audit(t)
}

func TestOnlyPublicServicesAreReachableFromOutside(t *testing.T) {
	c := open(t)
	for service, status := range map[string]int{"inventory-api": http.StatusOK, "orders-api": http.StatusNotFound, "reserve-stock": http.StatusNotFound} {
		assert.Equal(t, status, c.call(t, http.MethodGet, service, "/api/inventory/SKU-1", "").status, service)
	}
	assert.Empty(t, strings.TrimSpace(kubectl(t, "get", "ksvc", "-n", "orders", "-l", "networking.knative.dev/visibility!=cluster-local",
		"-o", `go-template={{range .items}}{{if not (eq .metadata.name "orders-api" "create-order" "inventory-api")}}{{.metadata.name}} {{end}}{{end}}`)))
}

func TestThePolicyRestrictedIsEnforced(t *testing.T) {
	open(t)
	_, err := command(t, "kubectl", "run", "root", "-n", "orders", "--image", "dev.local/pod:1", "--restart", "Never")
	assert.ErrorContains(t, err, `violates PodSecurity "restricted:latest"`)
}

// TestAFunctionStartsCold measures the time from a request to its answer by a new pod, and the pod's steps.
func TestAFunctionStartsCold(t *testing.T) {
	c := open(t)
	services := []string{"create-order", "cancel-order"}
	if !testing.Short() {
		services = append(services, "reserve-stock", "finalize-order", "notify", "release-stock")
	}
	for _, service := range services {
		await(t, 4*time.Minute, service+" has no pod", func() bool { return len(pods(t, service)) == 0 })
		watch := exec.CommandContext(t.Context(), "kubectl", "get", "pods", "-n", "orders", "-l", "serving.knative.dev/service="+service, "-w", "--no-headers",
			"-o", "custom-columns=D:.metadata.deletionTimestamp,P:.status.phase,R:.status.conditions[?(@.type=='Ready')].status")
		output, err := watch.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, watch.Start())

		begin := time.Now()
		answered := make(chan time.Duration, 1)
		go func() {
			assert.Equal(t, http.StatusOK, c.ask(t, service, "/health/readiness"))
			answered <- time.Since(begin)
		}()
		var steps []string
		for lines := bufio.NewScanner(output); lines.Scan(); {
			fields := strings.Fields(lines.Text())
			if fields[0] != "<none>" {
				continue // a pod from before, which is terminating
			}
			steps = append(steps, time.Since(begin).Round(time.Millisecond).String()+" "+fields[1]+", ready: "+fields[2])
			if fields[2] == "True" {
				break
			}
		}
		total := <-answered
		_ = watch.Process.Kill()
		_ = watch.Wait()
		t.Logf("%s: answered after %s; its pod: %s", service, total.Round(time.Millisecond), strings.Join(steps, "; "))
		assert.Less(t, total, 30*time.Second)
	}
	t.Logf("images: %s", kubectl(t, "get", "node", "node", "-o",
		`go-template={{range .status.images}}{{range .names}}{{.}} {{end}}{{.sizeBytes}}, {{end}}`))
}
