package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testNames lists the names of the tests of the module, and of the cluster's.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	declared, found := regexp.MustCompile(`(?m)^func (Test\w+)\(`), map[string]bool{}
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == ".git" || entry.Name() == ".cache"):
			return fs.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		for _, name := range declared.FindAllStringSubmatch(string(text), -1) {
			found[name[1]] = true
		}
		return err
	}))
	return found
}

func TestTheTestsOfTheThreatModelExist(t *testing.T) {
	text, tests, threats := readFile(t, ".github/SECURITY.md"), testNames(t), 0
	_, table, _ := strings.Cut(text, "## Threats")
	table, _, _ = strings.Cut(table, "\n## ")
	named := regexp.MustCompile("`(Test\\w+)`")
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| who ") {
			continue
		}
		threats++
		names := named.FindAllStringSubmatch(line, -1)
		assert.NotEmpty(t, names, "which test fails without the control? %s", line)
		for _, name := range names {
			assert.True(t, tests[name[1]], "%s is no test", name[1])
		}
	}
	assert.Greater(t, threats, 15)
}

// A tag of an action can be moved to other code, which would run with the token of the workflow.
func TestActionsArePinnedByCommit(t *testing.T) {
	workflow := readFile(t, ".github/workflows/ci.yml")
	actions := regexp.MustCompile(`uses: *(\S.*)`).FindAllStringSubmatch(workflow, -1)
	require.NotEmpty(t, actions)
	for _, action := range actions {
		assert.Regexp(t, `^[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`, action[1])
	}
	assert.Regexp(t, `(?m)^permissions:\n  contents: read$`, workflow)
	assert.Regexp(t, `govulncheck@v\d+\.\d+\.\d+ \./\.\.\.`, workflow)
}

func TestTheImageHasItsLicensesAndItsBillOfMaterials(t *testing.T) {
	all := stages(t, "functions/harness/Dockerfile")
	assert.Contains(t, all[len(all)-1], instruction{"COPY", "--from=build /out/THIRD_PARTY_NOTICES /out/sbom.json /"})
	assert.Contains(t, all[len(all)-1], instruction{"COPY", "LICENSE /"})
	assert.Contains(t, strings.Split(readFile(t, ".dockerignore"), "\n"), "!LICENSE")
}
