package asyncapi_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// refused ends the line of a command that must fail and say so.
var refused = regexp.MustCompile(`^(.*?) +# refused: (.*)$`)

// practice lists the commands of a section of a document, in order.
func practice(text, heading string) (commands []string) {
	_, section, _ := strings.Cut(text, "\n## "+heading+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	code := false
	for line := range strings.Lines(section) {
		if strings.HasPrefix(line, "```") {
			code = !code
		} else if code {
			commands = append(commands, strings.TrimSuffix(line, "\n"))
		}
	}
	return commands
}

// TestThePracticeOfTheEventsGoesAsItSays runs the commands of events/README.md in a copy of this checkout.
func TestThePracticeOfTheEventsGoesAsItSays(t *testing.T) {
	if os.Getenv("PRACTICE") == "" {
		t.Skip("builds a copy of the checkout: set PRACTICE=1, or run .ci/run contracts")
	}
	folder := t.TempDir()
	shell := func(folder, command string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		run := exec.CommandContext(ctx, "bash", "-euc", command)
		run.Dir = folder
		for _, variable := range os.Environ() {
			if name, _, _ := strings.Cut(variable, "="); name != "PRACTICE" && name != "PUBLISHED" {
				run.Env = append(run.Env, variable)
			}
		}
		var output bytes.Buffer
		run.Stdout, run.Stderr = &output, &output
		err := run.Run()
		return output.String(), err
	}
	must := func(folder, command string) {
		output, err := shell(folder, command)
		require.NoError(t, err, "%s\n%s", command, output)
	}
	must(root, "git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "+folder)
	must(folder, "git init -q && git add -A && git -c user.name=reader -c user.email=reader@example.com commit -qm before")
	commands := practice(read(t, "events/README.md"), "Practise it")
	require.Greater(t, len(commands), 10)
	for _, command := range commands {
		if found := refused.FindStringSubmatch(command); found != nil {
			output, err := shell(folder, found[1])
			require.Error(t, err, found[1])
			assert.Contains(t, output, found[2], found[1])
			continue
		}
		must(folder, command)
	}
	output, err := shell(folder, "git status --porcelain")
	require.NoError(t, err)
	assert.Empty(t, output, "all is as before")
	assert.FileExists(t, filepath.Join(folder, "events", "asyncapi.yaml"))
}
