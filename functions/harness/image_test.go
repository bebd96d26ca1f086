package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// instruction is a line of a Dockerfile.
type instruction struct{ name, argument string }

// stages reads the stages of a Dockerfile, each from its FROM.
func stages(t *testing.T, path string) (stages [][]instruction) {
	t.Helper()
	text := strings.ReplaceAll(readFile(t, path), "\\\n", " ")
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, argument, _ := strings.Cut(line, " ")
		if name == "FROM" {
			stages = append(stages, nil)
		}
		require.NotEmpty(t, stages, "a Dockerfile begins with FROM")
		last := len(stages) - 1
		stages[last] = append(stages[last], instruction{name, argument})
	}
	return stages
}

// argument returns the argument of the only instruction with this name in a stage.
func argument(t *testing.T, stage []instruction, name string) string {
	t.Helper()
	at := slices.IndexFunc(stage, func(i instruction) bool { return i.name == name })
	require.NotEqual(t, -1, at, "%s is missing", name)
	require.False(t, slices.ContainsFunc(stage[at+1:], func(i instruction) bool { return i.name == name }), "%s stands twice", name)
	return stage[at].argument
}

// image is the last stage of the harness's Dockerfile.
type image struct {
	stage []instruction
	env   map[string]string
}

func harnessImage(t *testing.T) image {
	t.Helper()
	all := stages(t, "functions/harness/Dockerfile")
	i := image{stage: all[len(all)-1], env: map[string]string{}}
	for _, pair := range strings.Fields(argument(t, i.stage, "ENV")) {
		name, value, _ := strings.Cut(pair, "=")
		i.env[name] = value
	}
	return i
}

func TestTheImageRunsAStaticBinaryAsAUserWithoutPrivileges(t *testing.T) {
	i := harnessImage(t)
	user := argument(t, i.stage, "USER")
	assert.Regexp(t, `^[1-9]\d*:[1-9]\d*$`, user, "a number, by which Kubernetes can tell that it is not root")
	assert.Contains(t, i.stage, instruction{"COPY", "--from=build --chown=" + user + " /out/data " + i.env["HARNESS_DATA"]}, "the data folder is the user's")
	build := stages(t, "functions/harness/Dockerfile")[0]
	assert.True(t, slices.ContainsFunc(build, func(i instruction) bool {
		return strings.Contains(i.argument, "CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath")
	}))
}

func TestTheImageKnowsTheCommitThatIsCheckedOut(t *testing.T) {
	git := func(dir string, args ...string) string {
		command := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
		out, err := command.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return strings.TrimSpace(string(out))
	}
	found := regexp.MustCompile(`\$\{REVISION:-\$\((.*?)\)\}`).FindStringSubmatch(readFile(t, "functions/harness/Dockerfile"))
	require.NotNil(t, found)
	var visible []string
	for line := range strings.Lines(readFile(t, ".dockerignore")) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "!.git/"); ok {
			visible = append(visible, path)
		}
	}
	// in runs the command of the Dockerfile on the parts of a repository that the build context contains.
	in := func(dir string) string {
		context := t.TempDir()
		for _, path := range visible {
			source, target := filepath.Join(dir, ".git", path), filepath.Join(context, ".git", path)
			if _, err := os.Stat(source); err == nil {
				require.NoError(t, os.MkdirAll(filepath.Dir(target), 0o700))
				require.NoError(t, exec.CommandContext(t.Context(), "cp", "-r", source, target).Run())
			}
		}
		command := exec.CommandContext(t.Context(), "sh", "-c", `printf %s "$(`+found[1]+`)"`)
		command.Dir, command.Env = context, append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(context))
		out, err := command.Output()
		require.NoError(t, err)
		return string(out)
	}
	dir := t.TempDir()
	git(dir, "init", "--quiet", "--initial-branch", "feature/one")
	assert.Empty(t, in(dir), "there is no commit")
	git(dir, "commit", "--quiet", "--allow-empty", "--message", "one")
	commit := git(dir, "rev-parse", "HEAD")
	assert.Equal(t, commit, in(dir))
	git(dir, "pack-refs", "--all")
	assert.Equal(t, commit, in(dir), "packed")
	git(dir, "checkout", "--quiet", "--detach")
	assert.Equal(t, commit, in(dir), "detached")
	worktree := filepath.Join(t.TempDir(), "worktree")
	git(dir, "worktree", "add", "--quiet", "--detach", worktree)
	assert.Empty(t, in(worktree), "of a worktree .git is a file, which is not in the context")
}

func TestTheImageIsBuiltFromAllThatTheHarnessNeeds(t *testing.T) {
	assert.Contains(t, stages(t, "functions/harness/Dockerfile")[0], instruction{"COPY", ". ."})
	ignore := strings.Split(readFile(t, ".dockerignore"), "\n")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "go", "list", "-deps", "-f", `{{if .Module}}{{if .Module.Main}}{{.ImportPath}}{{range .EmbedFiles}} {{.}}{{end}}{{end}}{{end}}`, ".")
	out, err := command.Output()
	require.NoError(t, err)
	packages := strings.Split(strings.TrimSpace(string(out)), "\n")
	require.Greater(t, len(packages), 10)
	for _, line := range packages {
		fields := strings.Fields(line)
		dir := strings.TrimPrefix(fields[0], "example.com/orders/")
		folder, _, _ := strings.Cut(dir, "/")
		assert.Contains(t, ignore, "!"+folder, fields[0])
		for _, embedded := range fields[1:] {
			assert.NotRegexp(t, `\.md$`, embedded, "the build context leaves it out")
			if strings.HasPrefix(embedded, "testdata/") {
				assert.Contains(t, ignore, "!"+dir+"/testdata", "the build context leaves %s out", embedded)
			}
		}
	}
}
