package knative

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// everything returns all embedded files, to be changed.
func everything(t *testing.T) fstest.MapFS {
	t.Helper()
	files := fstest.MapFS{}
	require.NoError(t, fs.WalkDir(Manifests(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(Manifests(), name)
		files[name] = &fstest.MapFile{Data: text}
		return err
	}))
	return files
}

func TestThePaymentOverlayStandsBetweenAnOrderAndItsStock(t *testing.T) {
	base, err := LoadOverlay(Manifests(), BaseName)
	require.NoError(t, err)
	payment, err := LoadOverlay(Manifests(), "payment")
	require.NoError(t, err)

	assert.Equal(t, load(t), base)
	assert.Empty(t, base.Overlay)
	assert.Equal(t, "payment", payment.Overlay)
	assert.Equal(t, []string{"authorize-payment"}, sinksOf(payment, "order.created"))
	assert.Equal(t, []string{"reserve-stock"}, sinksOf(payment, "payment.authorized"))
	assert.Equal(t, []string{"finalize-order"}, sinksOf(payment, "payment.declined"))
	assert.Contains(t, sinksOf(payment, "order.failed"), "refund-payment")
	assert.Contains(t, sinksOf(payment, "order.canceled"), "refund-payment")
	assert.Equal(t, []string{"reserve-stock"}, sinksOf(base, "order.created"), "the base stays as it is")
	assert.Len(t, payment.Services, len(base.Services)+3)
}

func sinksOf(w *Wiring, topic string) (sinks []string) {
	for _, s := range w.Sources {
		if s.Topic == topic {
			sinks = append(sinks, s.Sink)
		}
	}
	return sinks
}

func TestLoadOverlayRefusesWhatTheHarnessDoesNotActOut(t *testing.T) {
	const overlay, component = "overlays/payment/kustomization.yaml", "components/payment/kustomization.yaml"
	for name, broken := range map[string]struct{ file, old, replacement, says string }{
		"images":                        {overlay, "resources:", "images: []\nresources:", `unknown field "images": the harness acts out namespace, resources, components, and patches that delete`},
		"patches with a target":         {component, "  - patch: |-", "  - target: {kind: KafkaSource}\n    patch: |-", `unknown field "target"`},
		"patches in files":              {component, "  - patch: |-", "  - path: x.yaml\n    patch: |-", `unknown field "path"`},
		"patches that merge":            {component, "$patch: delete", "$patch: merge", "acts out patches with $patch: delete, apiVersion, kind and metadata.name only"},
		"patches that replace":          {component, "      $patch: delete\n", "", "acts out patches with $patch: delete"},
		"patches of a list":             {component, "      $patch: delete\n", "      - op: remove\n", "acts out patches with $patch: delete"},
		"deletion of a missing object":  {component, "name: reserve-stock.order.created", "name: reserve-stock.order.made", "deletes sources.knative.dev/v1 KafkaSource reserve-stock.order.made, which does not exist"},
		"deletion of another kind":      {component, "kind: KafkaSource", "kind: PingSource", "PingSource reserve-stock.order.created, which does not exist"},
		"deletion of another version":   {component, "apiVersion: sources.knative.dev/v1\n", "apiVersion: v1\n", "v1 KafkaSource reserve-stock.order.created, which does not exist"},
		"missing component":             {overlay, "components/payment", "components/money", "overlays/payment/kustomization.yaml lists ../../components/money: read the wiring"},
		"component that is no such":     {component, "kind: Component", "kind: Kustomization", "give kustomize.config.k8s.io/v1alpha1 Component"},
		"overlay that is a component":   {overlay, "v1beta1\nkind: Kustomization", "v1alpha1\nkind: Component", "give kustomize.config.k8s.io/v1beta1 Kustomization"},
		"another namespace":             {overlay, "namespace: orders", "namespace: shop", "the namespace is shop, and what it lists is in orders"},
		"missing file":                  {component, "- sources.yaml", "- other.yaml", "components/payment/kustomization.yaml lists other.yaml"},
		"file with an unknown field":    {"components/payment/sources.yaml", "  ordering:", "  order: x\n  ordering:", "components/payment/sources.yaml, document 1"},
		"consumers that share a topic":  {"components/payment/sources.yaml", "  consumerGroup: reserve-stock.payment.authorized", "  consumerGroup: reserve-stock.order.created", "give reserve-stock.payment.authorized"},
		"topic of the base that is cut": {"base/topics.yaml", "name: order.failed\n", "name: order.broken\n", `KafkaSource refund-payment.order.failed: topic "order.failed" is not declared`},
	} {
		t.Run(name, func(t *testing.T) {
			files := everything(t)
			text := string(files[broken.file].Data)
			require.Contains(t, text, broken.old, "the edit must change something")
			files[broken.file].Data = []byte(strings.Replace(text, broken.old, broken.replacement, 1))
			w, err := LoadOverlay(files, "payment")
			assert.ErrorContains(t, err, broken.says)
			assert.Nil(t, w)
		})
	}
}

func TestAnUnknownOverlayIsRefusedWithTheNamesOfAll(t *testing.T) {
	assert.Equal(t, []string{"cdc", "cdc-payment", "payment"}, Overlays())
	for _, name := range []string{"Payment", "local", "../base", "."} {
		_, err := LoadOverlay(Manifests(), name)
		assert.ErrorContains(t, err, "use base or cdc or cdc-payment or payment", name)
	}
}

func TestAnOverlayMayRemoveAnyKindOfObject(t *testing.T) {
	for kind, object := range map[string]string{
		"eventing.knative.dev/v1alpha1 KafkaSink": "order.created.dlq",
		"sources.knative.dev/v1 PingSource":       "release-stock-purge",
		"batch/v1 Job":                            "migrate",
		"v1 Namespace":                            "orders",
	} {
		files := everything(t)
		version, name, _ := strings.Cut(kind, " ")
		patch := "\n  - patch: |-\n      $patch: delete\n      apiVersion: " + version + "\n      kind: " + name + "\n      metadata:\n        name: " + object + "\n"
		file := files["components/payment/kustomization.yaml"]
		file.Data = append(file.Data, patch...)
		b, err := read(files, "overlays/payment")
		require.NoError(t, err)
		whole, err := read(Manifests(), "overlays/payment")
		require.NoError(t, err)
		assert.Equal(t, whole.count()-1, b.count(), kind)
	}
}

// Files are decoded once, whoever asks.
func TestAChangeOfAWiringIsInNoOther(t *testing.T) {
	const mark = "changed"
	w, err := LoadOverlay(Manifests(), "cdc")
	require.NoError(t, err)
	w.Topics[0].Config[mark], w.Services[0].Env[mark], w.Connectors[0].Config[mark] = mark, mark, mark

	next, err := LoadOverlay(Manifests(), "cdc")
	require.NoError(t, err)
	assert.NotContains(t, next.Topics[0].Config, mark)
	assert.NotContains(t, next.Services[0].Env, mark)
	assert.NotContains(t, next.Connectors[0].Config, mark)
}
