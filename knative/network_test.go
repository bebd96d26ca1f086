package knative

import (
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// networkPolicy is a NetworkPolicy, with the fields that the project uses.
type networkPolicy struct {
	header
	Spec struct {
		PodSelector selector `json:"podSelector"`
		PolicyTypes []string `json:"policyTypes"`
		Ingress     []struct {
			From []peer `json:"from"`
		} `json:"ingress"`
		Egress []struct {
			To    []peer `json:"to"`
			Ports []struct {
				Port     int    `json:"port"`
				Protocol string `json:"protocol"`
			} `json:"ports"`
		} `json:"egress"`
	} `json:"spec"`
}

type peer struct {
	NamespaceSelector *selector `json:"namespaceSelector"`
}

type selector struct {
	MatchLabels      map[string]string `json:"matchLabels"`
	MatchExpressions []struct {
		Key      string   `json:"key"`
		Operator string   `json:"operator"`
		Values   []string `json:"values"`
	} `json:"matchExpressions"`
}

// selects returns whether a pod or a namespace with these labels is selected.
func (s selector) selects(labels map[string]string) bool {
	for name, value := range s.MatchLabels {
		if labels[name] != value {
			return false
		}
	}
	for _, e := range s.MatchExpressions {
		value, there := labels[e.Key]
		if !there || (e.Operator == "In" && !slices.Contains(e.Values, value)) {
			return false
		}
	}
	return true
}

const namespaceLabel = "kubernetes.io/metadata.name"

// networkPolicies reads those of production.
func networkPolicies(t *testing.T) (all []networkPolicy) {
	t.Helper()
	text, err := os.ReadFile("components/production/network.yaml")
	require.NoError(t, err)
	parts, err := documents(text)
	require.NoError(t, err)
	for _, document := range parts {
		var p networkPolicy
		require.NoError(t, strict(document, &p))
		assert.Equal(t, "networking.k8s.io/v1 NetworkPolicy", p.APIVersion+" "+p.Kind)
		assert.Equal(t, "orders", p.Metadata.Namespace)
		for _, e := range p.Spec.PodSelector.MatchExpressions {
			assert.Contains(t, []string{"In", "Exists"}, e.Operator, "the test knows these only")
		}
		all = append(all, p)
	}
	return all
}

// reached returns the namespaces of which a pod with these labels takes requests, and what it reaches: ports anywhere, and
// namespaces with whatever ports.
func reached(t *testing.T, all []networkPolicy, labels map[string]string) (from map[string]bool, ports map[int]bool, namespaces map[string]bool) {
	t.Helper()
	from, ports, namespaces = map[string]bool{}, map[int]bool{}, map[string]bool{}
	known := []string{"knative-serving", "kourier-system", "knative-eventing", "kube-system", "default", "orders"}
	in := func(p peer, to map[string]bool) {
		require.NotNil(t, p.NamespaceSelector)
		for _, name := range known {
			if p.NamespaceSelector.selects(map[string]string{namespaceLabel: name}) {
				to[name] = true
			}
		}
	}
	for _, p := range all {
		if !p.Spec.PodSelector.selects(labels) {
			continue
		}
		for _, rule := range p.Spec.Ingress {
			require.NotEmpty(t, rule.From, "%s lets everybody in", p.Metadata.Name)
			for _, each := range rule.From {
				in(each, from)
			}
		}
		for _, rule := range p.Spec.Egress {
			require.False(t, len(rule.To) == 0 && len(rule.Ports) == 0, "%s lets everything out", p.Metadata.Name)
			for _, each := range rule.To {
				in(each, namespaces)
			}
			for _, each := range rule.Ports {
				ports[each.Port] = true
			}
		}
	}
	return from, ports, namespaces
}

func TestNothingIsReachedInProductionUnlessAPolicySaysSo(t *testing.T) {
	all := networkPolicies(t)
	first := all[0].Spec
	assert.True(t, first.PodSelector.selects(nil), "it is for all pods")
	assert.Equal(t, []string{"Ingress", "Egress"}, first.PolicyTypes)
	assert.Empty(t, first.Ingress)
	assert.Empty(t, first.Egress)

	from, ports, namespaces := reached(t, all, map[string]string{"batch.kubernetes.io/job-name": "migrate"})
	assert.Empty(t, from, "nobody calls a Job")
	assert.Equal(t, map[int]bool{53: true, 3306: true}, ports)
	assert.Equal(t, map[string]bool{"kube-system": true}, namespaces)
}

func TestAFunctionReachesWhatItNeedsInProductionAndNothingElse(t *testing.T) {
	all := networkPolicies(t)
	dataPlane := map[string]bool{"knative-serving": true, "kourier-system": true}
	common := map[int]bool{53: true, 3306: true, 443: true, 6443: true, 4317: true, 4318: true}
	for _, w := range wirings(t) {
		for _, s := range w.Services {
			from, ports, namespaces := reached(t, all, map[string]string{"serving.knative.dev/service": s.Name})
			assert.Equal(t, dataPlane, from, s.Name)
			wantPorts, wantNamespaces := maps.Clone(common), maps.Clone(dataPlane)
			wantNamespaces["kube-system"] = true // names
			if s.Outbox() != "" {
				wantPorts[9092], wantPorts[9093], wantNamespaces["knative-eventing"] = true, true, true
			}
			if s.Function == "notify" {
				wantPorts[25], wantPorts[465], wantPorts[587] = true, true, true
			}
			assert.Equal(t, wantPorts, ports, s.Name)
			assert.Equal(t, wantNamespaces, namespaces, s.Name)
		}
	}
}

// eventPolicy is an EventPolicy for one KafkaSink.
type eventPolicy struct {
	header
	Spec struct {
		To []struct {
			Ref reference `json:"ref"`
		} `json:"to"`
		From []struct {
			Ref reference `json:"ref"`
			Sub string    `json:"sub"`
		} `json:"from"`
	} `json:"spec"`
}

// assertLettersOfSourcesOnly asserts that each KafkaSink of built manifests takes dead letters from the sources alone that set
// aside there.
func assertLettersOfSourcesOnly(t *testing.T, name string, text []byte, w *Wiring) {
	t.Helper()
	want, got := map[string][]string{}, map[string][]string{}
	for _, s := range w.Sources {
		for _, sink := range w.Sinks {
			if sink.Topic == s.Delivery.DeadLetter {
				want[sink.Name] = append(want[sink.Name], s.Name)
			}
		}
	}
	all, err := documents(text)
	require.NoError(t, err)
	for _, document := range all {
		var h header
		require.NoError(t, yaml.Unmarshal(document, &h))
		if h.Kind != "EventPolicy" {
			continue
		}
		var p eventPolicy
		require.NoError(t, strict(document, &p))
		require.Len(t, p.Spec.To, 1, "%s: none means all", h.Metadata.Name)
		assert.Equal(t, kindSink, p.Spec.To[0].Ref.APIVersion+" "+p.Spec.To[0].Ref.Kind)
		for _, each := range p.Spec.From {
			assert.Equal(t, kindSource, each.Ref.APIVersion+" "+each.Ref.Kind)
			got[p.Spec.To[0].Ref.Name] = append(got[p.Spec.To[0].Ref.Name], each.Ref.Name)
		}
	}
	for _, list := range []map[string][]string{want, got} {
		for _, sources := range list {
			slices.Sort(sources)
		}
	}
	assert.Equal(t, want, got, name)
}
