package events_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
)

var publish = flag.Bool("publish", false, "add the schemas that are not published to the list of those that never change")

// publishedFile lists the schemas that never change, each with its SHA-256, as sha256sum writes and checks it.
const publishedFile = "schemas/published.txt"

func readSchema(t *testing.T, file string) []byte {
	t.Helper()
	text, err := fs.ReadFile(events.Schemas(), file)
	require.NoError(t, err)
	return text
}

func schemaFileOf(t *testing.T, file string) (schema map[string]any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(readSchema(t, file), &schema))
	return schema
}

// schemaFiles lists the files of the schemas, in order.
func schemaFiles(t *testing.T) (names []string) {
	t.Helper()
	entries, err := fs.ReadDir(events.Schemas(), ".")
	require.NoError(t, err)
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	slices.Sort(names)
	return names
}

var versioned = regexp.MustCompile(`^(.+)\.v([0-9]+)\.json$`)

// following is the file of the next version that there is not yet.
func following(file string, files []string) string {
	found := versioned.FindStringSubmatch(file)
	if found == nil {
		return "another file"
	}
	for n, _ := strconv.Atoi(found[2]); ; n++ {
		if next := fmt.Sprintf("%s.v%d.json", found[1], n+1); !slices.Contains(files, next) {
			return next
		}
	}
}

// changed explains what is wrong with the published schemas, given what the files have now, by name; nil if nothing is.
func changed(list string, now map[string][]byte) (problems []string) {
	var files []string
	for file := range now {
		files = append(files, file)
	}
	for line := range strings.Lines(list) {
		digest, file, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		text, there := now[file]
		sum := sha256.Sum256(text)
		switch {
		case !ok:
			problems = append(problems, fmt.Sprintf("%s: the line %q is no digest and file, as sha256sum writes them", publishedFile, line))
		case !there:
			problems = append(problems, fmt.Sprintf("%s is published, and gone: events that name it are still there. Restore it: git checkout -- events/schemas/%[1]s", file))
		case hex.EncodeToString(sum[:]) != digest:
			problems = append(problems, fmt.Sprintf("%[1]s is published, and never changes: events were written by it. Restore it (git checkout -- events/schemas/%[1]s), and make the next version, %[2]s; "+
				"events/README.md says how", file, following(file, files)))
		}
	}
	return problems
}

// unpublished lists the files without a line in the list.
func unpublished(list string, files []string) []string {
	return slices.DeleteFunc(slices.Clone(files), func(file string) bool { return strings.Contains("\n"+list, "  "+file+"\n") })
}

func stored(t *testing.T) map[string][]byte {
	t.Helper()
	now := map[string][]byte{}
	for _, file := range schemaFiles(t) {
		now[file] = readSchema(t, file)
	}
	return now
}

func TestPublishedSchemasNeverChange(t *testing.T) {
	list, err := os.ReadFile(filepath.FromSlash(publishedFile))
	require.NoError(t, err)
	for _, problem := range changed(string(list), stored(t)) {
		t.Error(problem)
	}
}

// Until a schema is published it may still change. CI sets PUBLISHED: what is merged is published.
func TestEachSchemaIsPublished(t *testing.T) {
	list, err := os.ReadFile(filepath.FromSlash(publishedFile))
	require.NoError(t, err)
	missing := unpublished(string(list), schemaFiles(t))
	if *publish {
		lines := strings.SplitAfter(string(list), "\n")
		lines = lines[:len(lines)-1] // the last line ends, too
		for _, file := range missing {
			sum := sha256.Sum256(readSchema(t, file))
			lines = append(lines, hex.EncodeToString(sum[:])+"  "+file+"\n")
			t.Log("published", file)
		}
		slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[2*sha256.Size:], b[2*sha256.Size:]) })
		require.NoError(t, os.WriteFile(filepath.FromSlash(publishedFile), []byte(strings.Join(lines, "")), 0o644))
		return
	}
	if os.Getenv("PUBLISHED") == "" {
		t.Logf("not published, so that they may still change: %v", missing)
		return
	}
	assert.Empty(t, missing, "they may still change: publish them with go test ./events -publish, and commit %s", publishedFile)
}

func TestAChangeOfAPublishedSchemaIsRefusedWithTheNextVersion(t *testing.T) {
	sum := sha256.Sum256([]byte("one"))
	list := hex.EncodeToString(sum[:]) + "  a.b.v1.json\n"
	file := func(text string) []byte { return []byte(text) }
	for name, test := range map[string]struct {
		now  map[string][]byte
		says string
	}{
		"unchanged":            {map[string][]byte{"a.b.v1.json": file("one"), "a.b.v2.json": file("two")}, ""},
		"changed":              {map[string][]byte{"a.b.v1.json": file("two")}, "make the next version, a.b.v2.json"},
		"changed, with a next": {map[string][]byte{"a.b.v1.json": file("two"), "a.b.v2.json": file("two")}, "make the next version, a.b.v3.json"},
		"gone":                 {map[string][]byte{}, "git checkout -- events/schemas/a.b.v1.json"},
	} {
		t.Run(name, func(t *testing.T) {
			problems := changed(list, test.now)
			if test.says == "" {
				assert.Empty(t, problems)
				return
			}
			require.Len(t, problems, 1)
			assert.Contains(t, problems[0], test.says)
		})
	}
	assert.Equal(t, []string{"a.b.v2.json"}, unpublished(list, []string{"a.b.v1.json", "a.b.v2.json"}))
	assert.Len(t, changed("nonsense\n", nil), 1)
}
