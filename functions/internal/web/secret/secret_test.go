package secret_test

import (
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/web/secret"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestReadTakesTheVariableOrTheFile(t *testing.T) {
	cases := map[string]struct {
		config map[string]string
		want   string
	}{
		"neither":                  {nil, ""},
		"the variable":             {map[string]string{"T": "of the variable"}, "of the variable"},
		"a file":                   {map[string]string{"T_FILE": write(t, "of a file")}, "of a file"},
		"a file with a line break": {map[string]string{"T_FILE": write(t, "of a file\r\n\n")}, "of a file"},
		"blanks belong to it":      {map[string]string{"T_FILE": write(t, " of a file \n")}, " of a file "},
		"another's file":           {map[string]string{"OTHER_FILE": "missing", "T": "mine"}, "mine"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := secret.Read(c.config, "T")
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
			assert.Equal(t, c.want != "", secret.Given(c.config, "T"))
		})
	}
}

func TestReadRefusesWithoutTellingTheSecret(t *testing.T) {
	const mine = "hunter2"
	cases := map[string]struct {
		config map[string]string
		says   string
	}{
		"both":         {map[string]string{"T": mine, "T_FILE": write(t, mine)}, "T and T_FILE are both set"},
		"missing":      {map[string]string{"T_FILE": filepath.Join(t.TempDir(), "missing")}, "no such file"},
		"a folder":     {map[string]string{"T_FILE": t.TempDir()}, "is a directory"},
		"empty":        {map[string]string{"T_FILE": write(t, "\n")}, "is empty"},
		"two lines":    {map[string]string{"T_FILE": write(t, mine+"\n"+mine+"\n")}, "more than one line"},
		"no text":      {map[string]string{"T_FILE": write(t, mine+"\x00")}, "not text"},
		"much too big": {map[string]string{"T_FILE": write(t, strings.Repeat(mine, 10_000))}, "more than 65536 bytes"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := secret.Read(c.config, "T")
			require.ErrorContains(t, err, c.says)
			assert.ErrorContains(t, err, "T_FILE")
			assert.NotContains(t, err.Error(), mine)
			assert.True(t, secret.Given(c.config, "T"))
		})
	}
}

func TestAReplacedFileIsReadAnew(t *testing.T) {
	config := map[string]string{"T_FILE": write(t, "old")}
	_, err := secret.Read(config, "T")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(config["T_FILE"], []byte("new"), 0o600))
	got, err := secret.Read(config, "T")
	require.NoError(t, err)
	assert.Equal(t, "new", got)
}

func TestAServerThatRepeatsASecretIsMasked(t *testing.T) {
	const user, password = "orders", "hunter2"
	repeating := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, sent, _ := r.BasicAuth()
		status, err := strconv.Atoi(r.URL.Query().Get("status"))
		assert.NoError(t, err)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "got "+r.Header.Get("Authorization")+" with "+sent)
	})
	for status, want := range map[string]string{"200": "got Basic b3JkZXJzOmh1bnRlcjI= with hunter2", "401": "got Basic [secret] with [secret]"} {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/?status="+status, nil)
		request.SetBasicAuth(user, password)
		response, err := secret.Masking{RoundTripper: inProcess{repeating}, User: user, Secret: password}.RoundTrip(request)
		require.NoError(t, err)
		text, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, want, string(text))
	}
	assert.Equal(t, "nothing was sent", secret.Masked("nothing was sent", "", ""))
}

// inProcess is a transport to a handler.
type inProcess struct{ http.Handler }

func (i inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	recorder := httptest.NewRecorder()
	i.ServeHTTP(recorder, r)
	return recorder.Result(), nil
}

// TestEverySecretIsReadHere looks through the sources of the module: a secret that is read from its variable alone would not
// be taken from its file.
func TestEverySecretIsReadHere(t *testing.T) {
	const root = "../../../.."
	named := regexp.MustCompile(`"([A-Z][A-Z0-9_]*_(?:PASSWORD|TOKEN|SECRET|DSN))"`)
	read := regexp.MustCompile(`(?:config|environ)\["(?:` + strings.Join(secret.Variables, "|") + `)"\]\s*(=?)`)
	found := map[string]bool{}
	for _, folder := range []string{"events", "functions", "knative", "sql"} {
		require.NoError(t, filepath.WalkDir(filepath.Join(root, folder), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "/testkit/") {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, match := range named.FindAllStringSubmatch(string(text), -1) {
				found[match[1]] = true
				assert.Contains(t, secret.Variables, match[1], path)
			}
			for _, match := range read.FindAllStringSubmatch(string(text), -1) {
				assert.Equal(t, "=", match[1], "%s reads a secret without secret.Read: %s", path, match[0])
			}
			return nil
		}))
	}
	assert.Contains(t, found, "MYSQL_DSN", "the pattern finds something")
}
