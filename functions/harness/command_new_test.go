package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/operate/scaffold"
	"example.com/orders/knative"
)

// stand makes a checkout of the files that a reaction without an event of its own is written into, and stands in it.
func stand(t *testing.T) {
	t.Helper()
	folder := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(folder, "knative", "base"), knative.Base()))
	for _, name := range []string{
		"go.mod", "functions/functions.go", "events/README.md", "knative/README.md", "knative/wiring_test.go",
		"knative/overlays/local/kustomization.yaml", "knative/overlays/production/kustomization.yaml",
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
made     knative/base/greet.yaml
changed  knative/base/kustomization.yaml
changed  knative/overlays/local/kustomization.yaml
changed  knative/overlays/production/kustomization.yaml
changed  knative/README.md
changed  events/README.md
changed  knative/wiring_test.go

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

func TestNewReactionWantsACheckout(t *testing.T) {
	t.Chdir(t.TempDir())
	err := run(t.Context(), []string{"new", "reaction", "greet", "--on", "order.created"}, streams{&bytes.Buffer{}, &bytes.Buffer{}})
	assert.ErrorIs(t, err, scaffold.ErrNoCheckout)
	assert.ErrorContains(t, err, "clone the repository, and change to its folder")
}
