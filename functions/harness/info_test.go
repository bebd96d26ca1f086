package main

import (
	"bytes"
	"io"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestVersionSaysWhatTheProgramWasBuiltFrom(t *testing.T) {
	t.Cleanup(func() { version, revision = "", "" })
	version, revision = "v1.2.3", "1f5a"
	for _, spelled := range []string{"version", "--version"} {
		var out bytes.Buffer
		require.NoError(t, run(t.Context(), []string{spelled}, streams{&out, io.Discard}), spelled)
		assert.Equal(t, "orders harness v1.2.3\ncommit 1f5a\n"+runtime.Version()+" "+runtime.GOOS+"/"+runtime.GOARCH+"\n", out.String())
	}
}

func TestVersionOfABuildThatKnowsNoCommitSaysSo(t *testing.T) {
	if readBuild().Commit != "" {
		t.Skip("the go command has recorded a commit")
	}
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"version"}, streams{&out, io.Discard}))
	assert.Contains(t, out.String(), "\ncommit unknown\n")
}
