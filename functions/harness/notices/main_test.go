package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestEveryModuleOfTheHarnessIsNamedWithItsLicense builds the harness as its image does.
func TestEveryModuleOfTheHarnessIsNamedWithItsLicense(t *testing.T) {
	folder := t.TempDir()
	binary := filepath.Join(folder, "harness")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", binary, "..").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, run(t.Context(), binary, folder))
	notices, err := os.ReadFile(filepath.Join(folder, "THIRD_PARTY_NOTICES"))
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(folder, "sbom.json"))
	require.NoError(t, err)
	var bom struct {
		BomFormat, SpecVersion string
		Components             []component
	}
	require.NoError(t, json.Unmarshal(text, &bom))
	assert.Equal(t, []string{"CycloneDX", "1.6"}, []string{bom.BomFormat, bom.SpecVersion})
	urls := map[string]bool{}
	for _, c := range bom.Components {
		assert.False(t, urls[c.URL], "%s stands twice", c.URL)
		urls[c.URL] = true
	}
	info, err := buildinfo.ReadFile(binary)
	require.NoError(t, err)
	require.NotEmpty(t, info.Deps)
	for _, m := range info.Deps {
		assert.True(t, urls["pkg:golang/"+used(m).Path+"@"+used(m).Version], m.Path)
		assert.True(t, bytes.Contains(notices, []byte(used(m).Path+" "+used(m).Version+"\n")), "%s is not among the licenses", used(m).Path)
	}
	for of, text := range map[string]string{"sarama": "Copyright (c) 2013 Shopify", "Go": "Copyright 2009 The Go Authors"} {
		assert.True(t, bytes.Contains(notices, []byte(text)), "the license of %s", of)
	}
	assert.True(t, urls["pkg:golang/std@"+info.GoVersion[2:]])
}

func TestABinaryThatIsNoneIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "text")
	require.NoError(t, os.WriteFile(file, []byte("no binary"), 0o600))
	assert.Error(t, run(t.Context(), file, t.TempDir()))
}
