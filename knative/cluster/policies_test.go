package cluster

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"example.com/orders/knative"
)

// policies are the NetworkPolicies of the overlays production, by their names.
func policies(t *testing.T) map[string]string {
	t.Helper()
	const folder = "../components/production/"
	var component struct {
		Resources []string `json:"resources"`
	}
	text, err := os.ReadFile(folder + "kustomization.yaml")
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(text, &component))
	all := map[string]string{}
	for _, name := range component.Resources {
		text, err := os.ReadFile(folder + name)
		require.NoError(t, err)
		for document := range strings.SplitSeq(string(text), "\n---\n") {
			var object struct {
				Kind     string `json:"kind"`
				Metadata struct {
					Name string `json:"name"`
				} `json:"metadata"`
			}
			require.NoError(t, yaml.Unmarshal([]byte(document), &object))
			if object.Kind == "NetworkPolicy" {
				all[object.Metadata.Name] = document
			}
		}
	}
	require.NotEmpty(t, all)
	return all
}

const serviceLabel = "serving.knative.dev/service"

// described are the pods of machines, their namespaces and their node, as an API server knows them.
func described(all []*machine) string {
	var text strings.Builder
	fmt.Fprintf(&text, "apiVersion: v1\nkind: Node\nmetadata: {name: node}\nstatus: {addresses: [{type: InternalIP, address: %s}]}\n", bridge)
	namespaces := map[string]bool{"": true}
	for _, m := range all {
		if !namespaces[m.pod] {
			namespaces[m.pod] = true
			fmt.Fprintf(&text, "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: %s, labels: {kubernetes.io/metadata.name: %s}}\n", m.pod, m.pod)
		}
		if m.pod == "" {
			continue
		}
		fmt.Fprintf(&text, "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: %s\n  namespace: %s\n  labels:\n", m.name, m.pod)
		for name, value := range m.labels {
			fmt.Fprintf(&text, "    %s: %s\n", name, value)
		}
		fmt.Fprintf(&text, "status: {phase: Running, hostIP: %s, podIP: %s, podIPs: [{ip: %s}]}\n", bridge, m.address, m.address)
	}
	return text.String()
}

// enforce starts what enforces policies on pods, and returns its end.
func enforce(t *testing.T, pods string, policies map[string]string) (end func()) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "objects.yaml")
	objects := append([]string{pods}, slices.Collect(maps.Values(policies))...)
	require.NoError(t, os.WriteFile(file, []byte(strings.Join(objects, "\n---\n")), 0o600))
	var log bytes.Buffer
	controller := exec.CommandContext(t.Context(), "policies", "node", file)
	controller.Stderr = &log
	require.NoError(t, controller.Start())
	return func() {
		_ = controller.Process.Kill()
		_ = controller.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	}
}

// ports are those that some policy opens, and one that none does.
var ports = []string{
	"tcp/25", "tcp/53", "udp/53", "tcp/443", "tcp/465", "tcp/587", "tcp/3306", "tcp/4317", "tcp/4318", "tcp/6443", "tcp/8080", "tcp/9092", "tcp/9093",
}

// expected are the connections that production needs. The servers are outside of the cluster.
func expected(services []knative.Service) []string {
	var all []string
	allow := func(from, to string, ports ...string) {
		for _, port := range ports {
			all = append(all, from+" > "+to+" "+port)
		}
	}
	outside, dns, brokers := "servers", []string{"tcp/53", "udp/53"}, []string{"tcp/9092", "tcp/9093"}
	for _, s := range services {
		for _, way := range []string{"kourier", "activator"} {
			allow(way, s.Name, "tcp/8080")
			allow(s.Name, way, "tcp/8080")
		}
		allow(s.Name, outside, "tcp/443", "tcp/4317", "tcp/4318", "tcp/6443")
		if s.Outbox() != "" {
			allow(s.Name, outside, brokers...)
			allow(s.Name, "kafka-sinks", "tcp/8080")
		}
		if s.Function == "notify" {
			allow(s.Name, outside, "tcp/25", "tcp/465", "tcp/587")
		}
	}
	allow("audit", outside, brokers...)
	allow("audit", "kourier", "tcp/8080")
	allow("audit", "activator", "tcp/8080")
	allow("connect", outside, brokers...)
	for _, from := range append(names(services), "migrate", "audit", "connect") {
		allow(from, outside, "tcp/3306")
		allow(from, "dns", dns...)
	}
	slices.Sort(all)
	return all
}

func names(services []knative.Service) (all []string) {
	for _, s := range services {
		all = append(all, s.Name)
	}
	return all
}

// TestNetworkPoliciesOfProduction holds the policies of production against connections that are really made, under a controller
// that enforces them: without policies everything is reached, with them what production needs and nothing else, and without any
// one of them something else. It needs no other part of a cluster: what a policy knows of a pod are labels and an address.
func TestNetworkPoliciesOfProduction(t *testing.T) {
	if os.Getenv("CLUSTER_BRIDGE") != bridge {
		t.Skip("it needs a network of its own: .ci/cluster/run policies")
	}
	wiring, err := knative.LoadOverlay(knative.Manifests(), "payment")
	require.NoError(t, err)

	servers, dns := &machine{name: "servers"}, &machine{name: "dns", pod: "kube-system"}
	all := []*machine{
		servers, dns,
		{name: "kourier", pod: "kourier-system"},
		{name: "activator", pod: "knative-serving"},
		{name: "kafka-sinks", pod: "knative-eventing"},
		{name: "stranger", pod: "default", labels: map[string]string{serviceLabel: "orders-api"}},
		{name: "migrate", pod: "orders", labels: map[string]string{"batch.kubernetes.io/job-name": "migrate"}},
		{name: "audit", pod: "orders", labels: map[string]string{"orders.example.com/tool": "harness"}},
		{name: "connect", pod: "orders", labels: map[string]string{"strimzi.io/kind": "KafkaConnect"}},
	}
	for _, s := range wiring.Services {
		all = append(all, &machine{name: s.Name, pod: "orders", labels: map[string]string{serviceLabel: s.Name}})
	}
	targets := map[*machine][]string{}
	for i, m := range all {
		m.attach(t, fmt.Sprintf("10.244.0.%d", 100+i))
		targets[m] = []string{"tcp/8080"}
	}
	targets[servers], targets[dns] = ports, []string{"tcp/53", "udp/53", "tcp/8080"}
	everything := []string{} // that a pod of the namespace sends or gets
	for to, ports := range targets {
		to.listen(t, ports...)
		for _, from := range all {
			for _, port := range ports {
				if from != to && (from.pod == "orders" || to.pod == "orders") {
					everything = append(everything, from.name+" > "+to.name+" "+port)
				}
			}
		}
	}
	slices.Sort(everything)
	made := func() []string {
		return slices.DeleteFunc(connections(t, all, targets), func(each string) bool {
			_, of := slices.BinarySearch(everything, each)
			return !of
		})
	}
	require.Equal(t, everything, made(), "without policies everything is reached")

	pods, rules, want := described(all), policies(t), expected(wiring.Services)
	asNeeded := func() {
		defer enforce(t, pods, rules)()
		require.EventuallyWithT(t, func(c *assert.CollectT) { assert.Equal(c, want, made()) }, time.Minute, 100*time.Millisecond)
	}
	asNeeded()
	t.Logf("%d of %d connections are made", len(want), len(everything))
	for name := range rules {
		others := maps.Clone(rules)
		delete(others, name)
		end := enforce(t, pods, others)
		await(t, time.Minute, "something changes without the policy "+name, func() bool { return !slices.Equal(want, made()) })
		end()
		asNeeded() // the next policy is not to be mistaken for this one
	}
}
