package knative

import (
	"errors"
	"io/fs"
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

// overlay is the kustomization.yaml of an overlay, with the fields that the project uses.
type overlay struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Resources  []string `json:"resources"`
	Patches    []struct {
		Path   string `json:"path"`
		Patch  string `json:"patch"`
		Target struct {
			Group string `json:"group"`
			Kind  string `json:"kind"`
			Name  string `json:"name"`
		} `json:"target"`
	} `json:"patches"`
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
	"kafka.strimzi.io/v1 Kafka": true, "kafka.strimzi.io/v1 KafkaNodePool": true,
}

func loadOverlay(t *testing.T, name string) (o overlay) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("overlays", name, kustomizationFile))
	require.NoError(t, err)
	require.NoError(t, strict(text, &o))
	return o
}

var overlays = []string{"local", "production"}

func TestOverlaysNameEveryImage(t *testing.T) {
	images := []string{"example.com/orders/harness"}
	for _, s := range load(t).Services {
		images = append(images, "example.com/orders/"+s.Name)
	}
	for _, name := range overlays {
		replaced := []string{}
		for _, image := range loadOverlay(t, name).Images {
			replaced = append(replaced, image.Name)
			assert.Equal(t, path.Base(image.Name), path.Base(image.NewName), name)
			assert.NotEmpty(t, image.NewTag, name)
		}
		assert.ElementsMatch(t, images, replaced, name)
	}
}

func TestOverlaysPatchWhatIsThere(t *testing.T) {
	m, err := read(Base())
	require.NoError(t, err)
	names := map[string][]string{}
	for _, s := range m.services {
		names["Service"] = append(names["Service"], s.Metadata.Name)
	}
	for _, name := range overlays {
		o := loadOverlay(t, name)
		assert.Contains(t, o.Resources, "../../base", name)
		for _, p := range o.Patches {
			text := []byte(p.Patch)
			if p.Path != "" {
				text, err = os.ReadFile(filepath.Join("overlays", name, p.Path))
				require.NoError(t, err)
			}
			var operations []operation
			require.NoError(t, yaml.UnmarshalStrict(text, &operations), "%s: %s", name, p.Path)
			require.NotEmpty(t, operations)
			for _, o := range operations {
				assert.Contains(t, []string{"add", "replace"}, o.Op)
				assert.True(t, strings.HasPrefix(o.Path, "/"), o.Path)
				assert.NotNil(t, o.Value, o.Path)
			}
			if p.Target.Kind != "Service" || p.Target.Name == "" {
				continue
			}
			for _, each := range strings.Split(strings.Trim(p.Target.Name, "()"), "|") {
				assert.True(t, slices.ContainsFunc(names["Service"], regexp.MustCompile("^"+each+"$").MatchString), "%s patches %s", name, each)
			}
		}
	}
}

func TestFilesOfOverlaysAreListed(t *testing.T) {
	for _, name := range overlays {
		o := loadOverlay(t, name)
		used := map[string]bool{kustomizationFile: true}
		for _, file := range o.Resources {
			used[file] = true
		}
		for _, p := range o.Patches {
			used[p.Path] = true
		}
		files, err := fs.Glob(os.DirFS(filepath.Join("overlays", name)), "*")
		require.NoError(t, err)
		for _, file := range files {
			assert.True(t, used[file], "%s/%s is not used", name, file)
		}
	}
}

func TestEachBudgetIsOfAServiceThatHasTwo(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("overlays", "production", "disruption.yaml"))
	require.NoError(t, err)
	all, err := documents(text)
	require.NoError(t, err)
	var budgets []string
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
		budgets = append(budgets, b.Metadata.Name)
	}
	for _, p := range loadOverlay(t, "production").Patches {
		if p.Path == "waited-for.yaml" {
			assert.ElementsMatch(t, budgets, strings.Split(strings.Trim(p.Target.Name, "()"), "|"))
		}
	}
}

// TestBuiltManifestsKeepTheRules checks the output of kustomize, one file per overlay, in the folder MANIFESTS; .ci/run sets
// it.
func TestBuiltManifestsKeepTheRules(t *testing.T) {
	folder := os.Getenv("MANIFESTS")
	if folder == "" {
		t.Skip("MANIFESTS does not name a folder of built manifests: run .ci/run manifests")
	}
	for _, name := range append([]string{"base"}, overlays...) {
		text, err := os.ReadFile(filepath.Join(folder, name+".yaml"))
		require.NoError(t, err)
		w, err := builtWiring(text)
		require.NoError(t, err, name)
		base := load(t)
		assert.Len(t, w.Services, len(base.Services), name)
		assert.Len(t, w.Sources, len(base.Sources), name)
		assert.Len(t, w.Pings, len(base.Pings), name)
		if name == "base" {
			continue
		}
		assert.NotRegexp(t, `image: example\.com/`, string(text), "%s leaves an image of nowhere", name)
		if name == "production" {
			assert.NotContains(t, string(text), "orders-kafka-bootstrap", "production has its own brokers")
			for _, topic := range w.Topics {
				assert.Equal(t, "2", topic.Config["min.insync.replicas"], topic.Name)
			}
		}
		if name == "local" {
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
