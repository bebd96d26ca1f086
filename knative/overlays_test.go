package knative

import (
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// overlay is the kustomization.yaml of an overlay or a component, with the fields that the project uses.
type overlay struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Namespace  string   `json:"namespace"`
	Resources  []string `json:"resources"`
	Components []string `json:"components"`
	Patches    []struct {
		Path   string `json:"path"`
		Patch  string `json:"patch"`
		Target struct {
			Group string `json:"group"`
			Kind  string `json:"kind"`
			Name  string `json:"name"`
			// Selector selects by labels.
			Selector string `json:"labelSelector"`
		} `json:"target"`
	} `json:"patches"`
	ConfigMaps []struct {
		Name      string          `json:"name"`
		Namespace string          `json:"namespace"`
		Files     []string        `json:"files"`
		Options   map[string]bool `json:"options"`
	} `json:"configMapGenerator"`
	Images []struct {
		Name    string `json:"name"`
		NewName string `json:"newName"`
		NewTag  string `json:"newTag"`
	} `json:"images"`
}

type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// beside has the kinds of overlay objects outside of the wiring: only their first lines are checked here.
var beside = map[string]bool{
	"v1 Service": true, "v1 Secret": true, "v1 ConfigMap": true, "apps/v1 StatefulSet": true, "policy/v1 PodDisruptionBudget": true,
	"v1 ServiceAccount": true, "rbac.authorization.k8s.io/v1 ClusterRoleBinding": true, "networking.k8s.io/v1 NetworkPolicy": true, "eventing.knative.dev/v1alpha1 EventPolicy": true,
	"kafka.strimzi.io/v1 Kafka": true, "kafka.strimzi.io/v1 KafkaNodePool": true,
}

func readOverlay(t *testing.T, folder string) (o overlay) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, kustomizationFile))
	require.NoError(t, err)
	require.NoError(t, strict(text, &o), folder)
	return o
}

// environments are the components of a cluster's settings; each is in an overlay on the base and in one on the overlay
// payment.
var environments = []string{"local", "production"}

// deployed has the overlays that a cluster takes, with the wiring that each one deploys.
var deployed = map[string]string{
	"local": "", "production": "", "local-payment": "payment", "production-payment": "payment",
}

func TestEachEnvironmentIsDeployedWithEachWiring(t *testing.T) {
	for _, environment := range environments {
		for _, wiring := range append([]string{""}, Routings()...) {
			name, on := environment, "../../base"
			if wiring != "" {
				name, on = environment+"-"+wiring, "../"+wiring
			}
			assert.Contains(t, deployed, name)
			o := readOverlay(t, filepath.Join("overlays", name))
			assert.Contains(t, o.Resources, on, name)
			assert.Equal(t, []string{"../../components/" + environment}, o.Components, name)
		}
	}
	assert.Len(t, deployed, len(environments)*(len(Routings())+1))
}

func TestEnvironmentsNameEveryImage(t *testing.T) {
	images := map[string]bool{"example.com/orders/harness": true}
	for _, w := range wirings(t) {
		for _, s := range w.Services {
			images["example.com/orders/"+s.Name] = true
		}
	}
	for _, name := range environments {
		replaced := []string{}
		for _, image := range readOverlay(t, filepath.Join("components", name)).Images {
			replaced = append(replaced, image.Name)
			assert.Equal(t, path.Base(image.Name), path.Base(image.NewName), name)
			assert.NotEmpty(t, image.NewTag, name)
		}
		assert.ElementsMatch(t, slices.Collect(maps.Keys(images)), replaced, name)
	}
}

// folders lists the folders of all overlays and components.
func folders(t *testing.T) []string {
	t.Helper()
	overlays, err := filepath.Glob("overlays/*")
	require.NoError(t, err)
	components, err := filepath.Glob("components/*")
	require.NoError(t, err)
	return append(overlays, components...)
}

func TestOverlaysPatchWhatIsThere(t *testing.T) {
	named := map[string][]string{}
	for _, w := range wirings(t) {
		for _, s := range w.Services {
			named["Service"] = append(named["Service"], s.Name)
		}
		for _, s := range w.Sources {
			named["KafkaSource"] = append(named["KafkaSource"], s.Name)
		}
		for _, s := range w.Sinks {
			named["KafkaSink"] = append(named["KafkaSink"], s.Name)
		}
	}
	for _, folder := range folders(t) {
		for _, p := range readOverlay(t, folder).Patches {
			text := []byte(p.Patch)
			if p.Path != "" {
				var err error
				text, err = os.ReadFile(filepath.Join(folder, p.Path))
				require.NoError(t, err)
			}
			if strings.HasPrefix(string(text), "$patch: delete\n") {
				continue // loading the wiring checks it
			}
			var operations []operation
			require.NoError(t, yaml.UnmarshalStrict(text, &operations), "%s: %s", folder, p.Path)
			require.NotEmpty(t, operations)
			for _, o := range operations {
				assert.Contains(t, []string{"add", "replace", "test", "remove"}, o.Op)
				assert.True(t, strings.HasPrefix(o.Path, "/"), o.Path)
				assert.Equal(t, o.Op == "remove", o.Value == nil, o.Path)
			}
			if named[p.Target.Kind] == nil || p.Target.Name == "" {
				continue
			}
			for _, each := range strings.Split(strings.Trim(p.Target.Name, "()"), "|") {
				matches := regexp.MustCompile("^" + each + "$").MatchString
				assert.True(t, slices.ContainsFunc(named[p.Target.Kind], matches), "%s patches %s", folder, each)
			}
		}
	}
}

func TestFilesOfOverlaysAreListed(t *testing.T) {
	listed := map[string]bool{}
	all := folders(t)
	for _, folder := range all {
		o := readOverlay(t, folder)
		used := map[string]bool{kustomizationFile: true}
		for _, file := range append(o.Resources, o.Components...) {
			used[file] = true
			listed[filepath.Join(folder, file)] = true
		}
		for _, p := range o.Patches {
			used[p.Path] = true
		}
		for _, c := range o.ConfigMaps {
			for _, file := range c.Files {
				used[file] = true
			}
		}
		files, err := fs.Glob(os.DirFS(folder), "*")
		require.NoError(t, err)
		for _, file := range files {
			assert.True(t, used[file], "%s/%s is not used", folder, file)
		}
	}
	for _, folder := range all {
		if name := filepath.Base(folder); filepath.Dir(folder) == "components" {
			assert.True(t, listed[folder], "no overlay lists the component %s", name)
		}
	}
}

func TestEachBudgetIsOfAServiceThatHasTwo(t *testing.T) {
	for _, folder := range []string{"components/production", "overlays/production-payment"} {
		var two []string
		for _, p := range readOverlay(t, folder).Patches {
			text := p.Patch
			if p.Path != "" {
				patch, err := os.ReadFile(filepath.Join(folder, p.Path))
				require.NoError(t, err)
				text = string(patch)
			}
			if strings.Contains(text, "min-scale") && p.Target.Kind == "Service" {
				two = append(two, strings.Split(strings.Trim(p.Target.Name, "()"), "|")...)
			}
		}
		assert.ElementsMatch(t, two, budgets(t, filepath.Join(folder, "disruption.yaml")), folder)
		assert.NotEmpty(t, two, folder)
	}
}

// budgets lists the Services of the PodDisruptionBudgets in a file.
func budgets(t *testing.T, file string) (services []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	all, err := documents(text)
	require.NoError(t, err)
	for _, document := range all {
		var b struct {
			header
			Spec struct {
				MaxUnavailable int `json:"maxUnavailable"`
				Selector       struct {
					MatchLabels map[string]string `json:"matchLabels"`
				} `json:"selector"`
			} `json:"spec"`
		}
		require.NoError(t, strict(document, &b))
		assert.Equal(t, map[string]string{"serving.knative.dev/service": b.Metadata.Name}, b.Spec.Selector.MatchLabels)
		assert.Equal(t, "orders", b.Metadata.Namespace)
		assert.Equal(t, 1, b.Spec.MaxUnavailable)
		services = append(services, b.Metadata.Name)
	}
	return services
}

// limitsOfProduction are those of the functions that customers reach, and of the mails; the others have none.
var limitsOfProduction = map[string]map[string]string{
	"orders-api":    {"RATE_LIMIT": "50/100", "RATE_LIMIT_WRITES": "10/20", "MAX_OPEN_ORDERS": "20"},
	"create-order":  {"RATE_LIMIT": "50/100", "RATE_LIMIT_WRITES": "10/20", "MAX_OPEN_ORDERS": "20"},
	"inventory-api": {"RATE_LIMIT": "50/100", "RATE_LIMIT_WRITES": "10/20"},
	"cancel-order":  {"RATE_LIMIT": "50/100", "RATE_LIMIT_WRITES": "10/20"},
	"notify":        {"MAX_MAILS": "30"},
}

// TestBuiltManifestsKeepTheRules checks the output of kustomize, one file per overlay, in the folder MANIFESTS; .ci/run sets
// it.
func TestBuiltManifestsKeepTheRules(t *testing.T) {
	folder := os.Getenv("MANIFESTS")
	if folder == "" {
		t.Skip("MANIFESTS does not name a folder of built manifests: run .ci/run manifests")
	}
	all := wirings(t)
	for name := range all {
		if built := readBuilt(t, folder, cmp.Or(name, "base")); assert.NotNil(t, built.wiring) {
			built.wiring.Overlay = name
			assertSame(t, all[name], built.wiring)
		}
	}
	captured := map[string]string{"production-cdc": "cdc"}
	maps.Copy(captured, deployed)
	for name, wiring := range captured {
		built := readBuilt(t, folder, name)
		w, text := built.wiring, built.text
		assert.Len(t, w.Services, len(all[wiring].Services), name)
		assert.Len(t, w.Sources, len(all[wiring].Sources), name)
		assert.Len(t, w.Pings, len(all[wiring].Pings), name)
		assert.NotRegexp(t, `image: example\.com/`, string(text), "%s leaves an image of nowhere", name)
		if strings.HasPrefix(name, "production") {
			assert.NotContains(t, string(text), "orders-kafka-bootstrap", "production has its own brokers")
			assert.Contains(t, string(text), "sasl:", "%s: nobody logs in to Kafka", name)
			assertLettersOfSourcesOnly(t, name, text, w)
			for _, s := range w.Services {
				assert.NotEqual(t, "simulated", s.Env["PAYMENT_GATEWAY"], "%s moves money in production", s.Name)
				limits := map[string]string{}
				for _, variable := range []string{"RATE_LIMIT", "RATE_LIMIT_WRITES", "MAX_OPEN_ORDERS", "MAX_MAILS"} {
					if value := s.Env[variable]; value != "" {
						limits[variable] = value
					}
				}
				assert.True(t, maps.Equal(limitsOfProduction[s.Name], limits), "%s: %s has the limits %v", name, s.Name, limits)
				if s.Env["SINK_SUBJECTS"] != "" {
					assert.NotEmpty(t, s.Env["SINK_ISSUER"], "%s takes events from anybody", s.Name)
				}
			}
			for _, topic := range w.Topics {
				assert.Equal(t, "2", topic.Config["min.insync.replicas"], topic.Name)
			}
		} else {
			consumers := 0
			for _, source := range w.Sources {
				consumers += source.Consumers
			}
			assert.LessOrEqual(t, consumers, 20, "more want a second dispatcher, which asks for a CPU of its own")
			assert.Equal(t, places(t, text, "Kafka"), places(t, text, "KafkaTopic"), "the topic operator looks beside its Kafka")
			assert.Equal(t, []string{"orders"}, places(t, text, "ConfigMap"), "func wants orders-mail to be there")
		}
	}
}

// TestBuiltManifestsThatPublishThroughKafkaSinksHaveOneForEachEvent checks that each relay has a token for each KafkaSink of its
// events, which takes no others.
func TestBuiltManifestsThatPublishThroughKafkaSinksHaveOneForEachEvent(t *testing.T) {
	folder := os.Getenv("MANIFESTS")
	if folder == "" {
		t.Skip("MANIFESTS does not name a folder of built manifests: run .ci/run manifests")
	}
	for _, name := range []string{"production-kafka-sinks", "production-payment-kafka-sinks"} {
		b := readBuilt(t, folder, name)
		through := wirings(t)[strings.Trim(strings.TrimSuffix(strings.TrimPrefix(name, "production"), "kafka-sinks"), "-")].WithKafkaSinks()
		assert.ElementsMatch(t, through.Sinks, b.wiring.Sinks, name)
		for i, s := range b.wiring.Services {
			at := slices.IndexFunc(through.Services, func(of Service) bool { return of.Name == s.Name })
			require.GreaterOrEqual(t, at, 0, s.Name)
			assert.Equal(t, through.Services[at].Env[kafkaSinkVariable], b.wiring.Services[i].Env[kafkaSinkVariable], s.Name)
		}
		sinks := map[string]bool{}
		for _, sink := range b.wiring.Sinks {
			sinks[sink.Topic] = true
		}
		for _, topic := range b.wiring.Topics {
			assert.True(t, sinks[topic.Name], "%s: %s has no KafkaSink", name, topic.Name)
		}
		tokens, allowed := map[string]string{}, map[string]string{}
		all, err := documents(b.text)
		require.NoError(t, err)
		for _, document := range all {
			var h header
			require.NoError(t, yaml.Unmarshal(document, &h))
			switch h.APIVersion + " " + h.Kind {
			case kindService:
				var m serviceManifest
				require.NoError(t, strict(document, &m))
				for _, v := range m.Spec.Template.Spec.Volumes {
					for _, from := range v.Projected.Sources {
						token := from.ServiceAccountToken
						assert.Equal(t, "eventing.knative.dev/kafkasink/orders/"+token.Path, token.Audience)
						tokens[token.Path] = "system:serviceaccount:orders:" + m.Spec.Template.Spec.ServiceAccountName
					}
				}
			case "eventing.knative.dev/v1alpha1 EventPolicy":
				var p eventPolicy
				require.NoError(t, strict(document, &p))
				for _, to := range p.Spec.To {
					if !strings.HasSuffix(to.Ref.Name, DeadLetterSuffix) {
						require.Len(t, p.Spec.From, 1)
						allowed[to.Ref.Name] = p.Spec.From[0].Sub
					}
				}
			}
		}
		assert.Equal(t, tokens, allowed, name)
		for _, topic := range b.wiring.Topics {
			assert.Equal(t, !strings.HasSuffix(topic.Name, DeadLetterSuffix), tokens[topic.Name] != "", "%s: %s", name, topic.Name)
		}
	}
}

type built struct {
	text   []byte
	wiring *Wiring
}

func readBuilt(t *testing.T, folder, name string) built {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, name+".yaml"))
	require.NoError(t, err)
	w, err := builtWiring(text)
	require.NoError(t, err, name)
	return built{text, w}
}

// assertSame asserts that what the harness acts out is what kustomize builds, whose objects are in another order.
func assertSame(t *testing.T, acted, built *Wiring) {
	t.Helper()
	assert.ElementsMatch(t, acted.Services, built.Services)
	assert.ElementsMatch(t, acted.Sources, built.Sources)
	assert.ElementsMatch(t, acted.Sinks, built.Sinks)
	assert.ElementsMatch(t, acted.Pings, built.Pings)
	assert.ElementsMatch(t, acted.Topics, built.Topics)
}

// places has the namespaces with objects of a kind.
func places(t *testing.T, text []byte, kind string) (namespaces []string) {
	t.Helper()
	all, err := documents(text)
	require.NoError(t, err)
	for _, document := range all {
		var h header
		require.NoError(t, yaml.Unmarshal(document, &h))
		if h.Kind == kind && !slices.Contains(namespaces, h.Metadata.Namespace) {
			namespaces = append(namespaces, h.Metadata.Namespace)
		}
	}
	return namespaces
}

// builtWiring is the wiring of manifests that kustomize has put together.
func builtWiring(text []byte) (*Wiring, error) {
	all, err := documents(text)
	if err != nil {
		return nil, err
	}
	b := &base{namespace: "orders"}
	for _, document := range all {
		var h header
		if err := yaml.Unmarshal(document, &h); err != nil {
			return nil, err
		}
		if kind := h.APIVersion + " " + h.Kind; beside[kind] || (kind == kindNamespace && h.Metadata.Name == "kafka") {
			continue
		}
		if err := b.add(document); err != nil {
			return nil, errors.Join(errors.New(h.Kind+" "+h.Metadata.Name), err)
		}
	}
	for i := range b.topics {
		b.topics[i].Metadata.Namespace = "" // in the overlay local it is the namespace of the Kafka
	}
	return b.check()
}
