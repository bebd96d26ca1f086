package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

var (
	linked = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	// dropped is what GitHub leaves out of the anchor of a heading.
	dropped = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// anchors returns the anchors of a document's headings.
func anchors(text string) map[string]bool {
	found := map[string]bool{}
	for line := range strings.Lines(text) {
		if hashes, heading, ok := strings.Cut(strings.TrimSpace(line), " "); ok && hashes != "" && strings.Trim(hashes, "#") == "" {
			found[strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(heading), ""), " ", "-")] = true
		}
	}
	return found
}

func TestTheLinksOfTheDocumentsLeadSomewhere(t *testing.T) {
	links := 0
	for _, document := range []string{
		"README.md", "knative/README.md", "events/README.md", "functions/internal/README.md", "functions/harness/BENCH.md", watching + "RUNBOOK.md",
		".github/SECURITY.md",
	} {
		for _, found := range linked.FindAllStringSubmatch(readFile(t, document), -1) {
			path, anchor, _ := strings.Cut(found[1], "#")
			if strings.Contains(path, "://") {
				continue
			}
			links++
			target := document
			if path != "" {
				target = filepath.Join(filepath.Dir(document), path)
			}
			if _, err := os.Stat(filepath.Join(root, target)); assert.NoError(t, err, "%s: %s", document, found[0]) && anchor != "" {
				assert.True(t, anchors(readFile(t, target))[anchor], "%s: %s has no heading %s", document, target, anchor)
			}
		}
	}
	assert.Greater(t, links, 30)
}
