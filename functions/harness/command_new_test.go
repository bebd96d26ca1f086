package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/events/avro"
	"example.com/orders/functions/internal/operate/scaffold"
	"example.com/orders/knative"
)

// stand makes a checkout of the files that a reaction without an event of its own is written into, and stands in it.
func stand(t *testing.T) {
	t.Helper()
	folder := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(folder, "knative"), knative.Manifests()))
	require.NoError(t, os.CopyFS(filepath.Join(folder, "events", "schemas"), events.Schemas()))
	require.NoError(t, os.CopyFS(filepath.Join(folder, "events", "testdata"), events.Examples()))
	require.NoError(t, os.CopyFS(filepath.Join(folder, "events", "avro"), avro.Files()))
	for _, name := range []string{
		"go.mod", "functions/functions.go", "events/README.md", "knative/README.md", "knative/wiring_test.go",
		"knative/components/local/kustomization.yaml", "knative/components/production/kustomization.yaml",
		"knative/components/production/dead-letter-senders.yaml", "knative/overlays/production-payment/dead-letter-senders.yaml",
		"knative/overlays/production-payment/kustomization.yaml",
		"events/order.go", "events/inventory.go", "events/payment.go", "functions/internal/operate/asyncapi/emits.go",
		"events/asyncapi.yaml", "events/asyncapi.payment.yaml",
		"sql/privilege/table.go", "knative/components/local/secrets.yaml",
	} {
		path := filepath.Join(folder, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(readFile(t, name)), 0o644))
	}
	t.Chdir(folder)
}

func TestNewReactionSaysWhatItWroteAndWhatComesNext(t *testing.T) {
	for name, args := range map[string][]string{
		"the name first": {"new", "reaction", "greet", "--on", "order.created", "--addr", "127.0.0.1:8090"},
		"the name last":  {"new", "reaction", "--on", "order.created", "--addr", "127.0.0.1:8090", "greet"},
	} {
		t.Run(name, func(t *testing.T) {
			stand(t)
			var stdout, stderr bytes.Buffer

			require.NoError(t, run(t.Context(), args, streams{&stdout, &stderr}))

			assert.Equal(t, `made     functions/greet/greet.go
made     functions/greet/greet_test.go
made     functions/greet/func.yaml
changed  functions/functions.go
changed  sql/privilege/table.go
changed  knative/components/local/secrets.yaml
made     knative/base/greet.yaml
changed  knative/base/kustomization.yaml
changed  knative/components/local/kustomization.yaml
changed  knative/components/production/kustomization.yaml
changed  knative/components/production/dead-letter-senders.yaml
changed  knative/README.md
changed  events/README.md
changed  knative/wiring_test.go
changed  events/asyncapi.payment.yaml
changed  events/asyncapi.yaml

Next:
  go test ./...               passes as it is
  go run ./functions/harness  at http://127.0.0.1:8090/orders place an order; the page of the order says when greet has handled its order.created
What the function does is yours to write, in functions/greet/greet.go.
`, stdout.String())
			assert.Empty(t, stderr.String())
			assert.FileExists(t, "functions/greet/greet.go")

			assert.ErrorContains(t, run(t.Context(), args, streams{&stdout, &stderr}), "functions/greet/greet.go is there already")
		})
	}
}

func TestNewReactionWritesIntoAnOverlay(t *testing.T) {
	stand(t)
	var stdout bytes.Buffer

	require.NoError(t, run(t.Context(), []string{"new", "reaction", "greet", "--on", "order.created", "--overlay", "payment"}, streams{&stdout, &bytes.Buffer{}}))

	assert.Contains(t, stdout.String(), `made     knative/components/payment/greet.yaml
changed  knative/components/payment/kustomization.yaml
changed  knative/components/local/kustomization.yaml
changed  knative/components/production/kustomization.yaml
changed  knative/overlays/production-payment/kustomization.yaml
changed  knative/overlays/production-payment/dead-letter-senders.yaml
changed  knative/README.md
changed  knative/wiring_test.go
changed  events/asyncapi.payment.yaml
`)
	assert.Contains(t, stdout.String(), "go run ./functions/harness --overlay payment  at http://")
	made := os.DirFS("knative")
	wiring, err := knative.LoadOverlay(made, "payment")
	require.NoError(t, err)
	assert.Equal(t, []string{"authorize-payment", "greet"}, consumersOf(wiring, "order.created"))
	base, err := knative.LoadOverlay(made, knative.BaseName)
	require.NoError(t, err)
	assert.Equal(t, []string{"reserve-stock"}, consumersOf(base, "order.created"), "the base stays as it is")
	readme, err := os.ReadFile("knative/README.md")
	require.NoError(t, err)
	assert.Contains(t, string(readme), "| order.created | authorize-payment, greet |")
	described, err := os.ReadFile("events/asyncapi.payment.yaml")
	require.NoError(t, err)
	assert.Contains(t, string(described), "greet.receive.order.created:")
}

// consumersOf lists the functions that get the events of a topic.
func consumersOf(w *knative.Wiring, topic string) (names []string) {
	for _, s := range w.Sources {
		if s.Topic == topic {
			names = append(names, s.Sink)
		}
	}
	return names
}

func TestNewReactionWantsACheckout(t *testing.T) {
	t.Chdir(t.TempDir())
	err := run(t.Context(), []string{"new", "reaction", "greet", "--on", "order.created"}, streams{&bytes.Buffer{}, &bytes.Buffer{}})
	assert.ErrorIs(t, err, scaffold.ErrNoCheckout)
	assert.ErrorContains(t, err, "clone the repository, and change to its folder")
}
