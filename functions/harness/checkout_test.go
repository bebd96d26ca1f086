package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// git runs git without the variables with which a hook selects its repository.
func git(args ...string) (string, error) {
	command := exec.CommandContext(context.Background(), "git", args...)
	command.Env = slices.DeleteFunc(os.Environ(), func(pair string) bool { return strings.HasPrefix(pair, "GIT_") })
	out, err := command.CombinedOutput()
	return string(out), err
}

func TestACloneHasTheSameBytesWhateverGitDoesToLineEnds(t *testing.T) {
	t.Parallel()
	if out, err := git("-C", root, "rev-parse", "--verify", "HEAD"); err != nil {
		t.Skipf("git knows no commit here: %v %s", err, out)
	}
	plain, windows := filepath.Join(t.TempDir(), "plain"), filepath.Join(t.TempDir(), "windows")
	for folder, autocrlf := range map[string]string{plain: "false", windows: "true"} {
		out, err := git("clone", "--quiet", "--config", "core.autocrlf="+autocrlf, root, folder)
		require.NoError(t, err, out)
	}
	names, err := git("-C", plain, "ls-files", "-z")
	require.NoError(t, err, names)

	for name := range strings.SplitSeq(strings.TrimSuffix(names, "\x00"), "\x00") {
		want, err := os.ReadFile(filepath.Join(plain, name))
		require.NoError(t, err)
		got, err := os.ReadFile(filepath.Join(windows, name))
		require.NoError(t, err)
		assert.True(t, bytes.Equal(want, got), name)
	}
}
