package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"example.com/orders/knative"
)

// staged stages a function in a new folder.
func staged(t *testing.T, name string) (dir string) {
	t.Helper()
	t.Chdir("../..")
	dir = filepath.Join(t.TempDir(), name)
	require.NoError(t, run(t.Context(), []string{name, dir}, &bytes.Buffer{}))
	return dir
}

// files lists the files of a folder, at any depth.
func files(t *testing.T, dir string) (all []string) {
	t.Helper()
	require.NoError(t, fs.WalkDir(os.DirFS(dir), ".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			all = append(all, path)
		}
		return err
	}))
	return all
}

func TestAStagedFolderHasWhatTheFunctionNeedsAndNoMore(t *testing.T) {
	dir := staged(t, "reserve-stock")

	all := files(t, dir)
	for _, file := range []string{
		"go.mod", "go.sum", "function.go", "func.yaml", ".funcignore", "functions/reservestock/reservestock.go",
		"functions/internal/messaging/inbox/inbox.go", "events/order.go", "events/schemas/order.created.v1.json",
	} {
		assert.Contains(t, all, file)
	}
	for _, file := range all {
		assert.NotContains(t, file, "_test.go")
		assert.NotContains(t, file, "functions/notify")
		assert.NotContains(t, file, "harness")
	}
	want, err := os.ReadFile(filepath.Join("functions", "reservestock", "func.yaml"))
	require.NoError(t, err)
	got, err := os.ReadFile(filepath.Join(dir, "func.yaml"))
	require.NoError(t, err)
	assert.Equal(t, strings.Replace(string(want), "builder: 'none here: use knative/func.sh'", "builder: host", 1), string(got))
	assert.NotEqual(t, string(want), string(got), "in the folder itself func cannot build")
	ignored, err := os.ReadFile(filepath.Join(dir, ".funcignore"))
	require.NoError(t, err)
	assert.Equal(t, "*\n", string(ignored), "sources stay out of the image")
}

func TestAFunctionThatIsDeployedTwiceGetsTheValuesOfItsService(t *testing.T) {
	dir := staged(t, "publish-outbox-inventory")

	text, err := os.ReadFile(filepath.Join(dir, "func.yaml"))
	require.NoError(t, err)
	var p struct {
		Name string `json:"name"`
		Run  struct {
			Envs []struct{ Name, Value string } `json:"envs"`
		} `json:"run"`
	}
	require.NoError(t, yaml.Unmarshal(text, &p))
	assert.Equal(t, "publish-outbox-inventory", p.Name)
	values := map[string]string{}
	for _, e := range p.Run.Envs {
		values[e.Name] = e.Value
	}
	assert.Equal(t, "inventory", values["OUTBOX_SCHEMA"])
	assert.Equal(t, "{{ secret:orders-mysql:publish-outbox-inventory }}", values["MYSQL_DSN"])
}

func TestStagingAgainReplacesAllButFuncsOwnFiles(t *testing.T) {
	dir := staged(t, "notify")
	kept, stale := filepath.Join(dir, ".func", "instances", "8080"), filepath.Join(dir, "events", "stale.go")
	require.NoError(t, os.MkdirAll(filepath.Dir(kept), 0o755))
	require.NoError(t, os.WriteFile(kept, nil, 0o600))
	require.NoError(t, os.WriteFile(stale, nil, 0o600))

	require.NoError(t, run(t.Context(), []string{"notify", dir}, &bytes.Buffer{}))

	assert.FileExists(t, kept)
	assert.NoFileExists(t, stale)
}

func TestAFolderWithOtherThingsIsLeftAlone(t *testing.T) {
	t.Chdir("../..")
	dir := t.TempDir()
	mine := filepath.Join(dir, "letter.txt")
	require.NoError(t, os.WriteFile(mine, nil, 0o600))
	assert.ErrorContains(t, run(t.Context(), []string{"notify", dir}, &bytes.Buffer{}), "files that were not staged")
	assert.FileExists(t, mine)
}

func TestInvalidArgumentsAreRefused(t *testing.T) {
	t.Chdir("../..")
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"nothing":          {nil, "give NAME and DIR, -list or -needs"},
		"no folder":        {[]string{"notify"}, "give NAME and DIR, -list or -needs"},
		"unknown function": {[]string{"-needs", "notified"}, `there is no function "notified": use one of cancel-order, `},
		"no such Service":  {[]string{"notified", t.TempDir()}, `there is no function "notified": use one of cancel-order, `},
	} {
		t.Run(name, func(t *testing.T) {
			assert.ErrorContains(t, run(t.Context(), c.args, &bytes.Buffer{}), c.says)
		})
	}
}

// listed returns all functions in the order of their deployment.
func listed(t *testing.T) []string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"-list"}, &out))
	return strings.Fields(out.String())
}

func TestPublicFunctionsAreDeployedLast(t *testing.T) {
	w, err := knative.Load(knative.Base())
	require.NoError(t, err)
	names := listed(t)
	assert.Len(t, names, len(w.Services))
	assert.ElementsMatch(t, []string{"orders-api", "create-order", "inventory-api"}, names[len(names)-3:])
	assert.True(t, slices.Contains(names, "publish-outbox-inventory"))
}

func TestTheFunctionsOfAnOverlayAreListedWithIt(t *testing.T) {
	base := listed(t)
	t.Setenv("HARNESS_OVERLAY", "payment")
	added := slices.DeleteFunc(listed(t), func(name string) bool { return slices.Contains(base, name) })
	assert.Equal(t, []string{"authorize-payment", "refund-payment", "publish-outbox-payments"}, added)
	t.Setenv("HARNESS_OVERLAY", "money")
	assert.ErrorContains(t, run(t.Context(), []string{"-list"}, &bytes.Buffer{}), "use base or cdc or cdc-payment or payment")
}

func TestAFunctionOfAnOverlayIsStagedLikeAnother(t *testing.T) {
	dir := staged(t, "authorize-payment")
	assert.Contains(t, files(t, dir), "functions/authorizepayment/authorizepayment.go")
	assert.Contains(t, files(t, dir), "functions/internal/function/gateway/gateway.go")
}

func TestAFunctionNeedsItsRequiredSecrets(t *testing.T) {
	for name, needs := range map[string]string{
		"orders-api":            "MYSQL_DSN\n",
		"notify":                "MYSQL_DSN\n", // a mail server is optional
		"authorize-payment":     "MYSQL_DSN\n", // so is the address of a gateway
		"publish-outbox-orders": "MYSQL_DSN\nKAFKA_BROKERS\n",
	} {
		var out bytes.Buffer
		require.NoError(t, run(t.Context(), []string{"-needs", name}, &out))
		assert.Equal(t, needs, out.String(), name)
	}
}
