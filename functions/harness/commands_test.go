package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/porttest"
)

// visible lists c and the commands below it that users see.
func visible(c *cobra.Command) []*cobra.Command {
	found := []*cobra.Command{c}
	for _, below := range c.Commands() {
		if below.IsAvailableCommand() {
			found = append(found, visible(below)...)
		}
	}
	return found
}

func TestHelpAndVersionGoToStandardOutputAndSucceed(t *testing.T) {
	for line, says := range map[string]string{
		"--help":                            "Operate it:",
		"-h":                                "Operate it:",
		"help":                              "Operate it:",
		"audit --help":                      "--grace",
		"help audit":                        "--grace",
		"deadletters --help":                "replay",
		"help deadletters replay":           "--park-after",
		"deadletters replay -h":             "--park-after",
		"help new reaction":                 "new reaction NAME",
		"help environment":                  "KAFKA_SASL_MECHANISM",
		"version":                           "orders harness",
		"--version":                         "orders harness",
		"completion bash":                   "__start_harness",
		"__complete outbox list --state pa": "parked",
		"__complete deadletters list --co":  "--consumer",
		"__complete audit --data /":         ":16", // only folders
	} {
		t.Run(line, func(t *testing.T) {
			var out bytes.Buffer
			require.NoError(t, run(t.Context(), strings.Fields(line), streams{&out, io.Discard}))
			assert.Contains(t, out.String(), says)
		})
	}
}

func TestEveryCommandHasAHelpOfItsOwnWithItsFlagsAndAnExample(t *testing.T) {
	for _, c := range visible(newProgram(streams{}).root) {
		t.Run(c.CommandPath(), func(t *testing.T) {
			var out bytes.Buffer
			require.NoError(t, run(t.Context(), append(strings.Fields(c.CommandPath())[1:], "--help"), streams{&out, io.Discard}))

			help := out.String()
			if c.Long == "" {
				assert.Contains(t, help, c.Short)
			}
			c.LocalFlags().VisitAll(func(f *pflag.Flag) {
				assert.NotEmpty(t, f.Usage, f.Name)
				if !f.Hidden {
					assert.Contains(t, help, "--"+f.Name)
				}
			})
			for line := range strings.Lines(help) {
				if strings.HasPrefix(line, "   ") { // the flags
					assert.LessOrEqual(t, len(line), helpWidth+1, line)
				}
			}
			if c.Parent() != nil && c.Parent().Name() == "completion" {
				return // cobra explains these in prose
			}
			assert.Contains(t, help, "Examples:\n"+c.Example)
			for line := range strings.Lines(c.Example) {
				understood(t, line)
			}
		})
	}
}

// understood asserts that a line of examples is a command with flags that it has. It may be followed by what it is for.
func understood(t *testing.T, line string) {
	t.Helper()
	line, _, _ = strings.Cut(strings.TrimSpace(line), "     ")
	_, words, ok := strings.Cut(line, "harness ")
	if !ok {
		assert.Contains(t, line, "harness")
		return
	}
	var args []string
	for _, word := range regexp.MustCompile(`'[^']*'|[^ )]+`).FindAllString(words, -1) {
		args = append(args, strings.Trim(word, "'"))
	}
	root := newProgram(streams{}).root
	root.InitDefaultHelpCmd()
	c, rest, err := root.Find(args)
	require.NoError(t, err, line)
	if c.Name() == "help" {
		return // its words are commands
	}
	if err := c.ParseFlags(rest); !errors.Is(err, pflag.ErrHelp) {
		require.NoError(t, err, line)
	}
	assert.NoError(t, c.ValidateArgs(c.Flags().Args()), line)
}

// shown is a line of a document that runs the harness.
var shown = regexp.MustCompile(`^(\S+=\S+ )*(harness |go run \./functions/harness |docker compose exec harness /harness )`)

func TestTheCommandsOfTheDocumentsAreUnderstood(t *testing.T) {
	commands := 0
	for _, document := range []string{"README.md", "knative/README.md", "functions/harness/BENCH.md", watching + "RUNBOOK.md"} {
		code := false
		for line := range strings.Lines(readFile(t, document)) {
			if strings.HasPrefix(line, "```") {
				code = !code
			}
			if found := shown.FindString(line); code && found != "" {
				command, _, _ := strings.Cut(strings.TrimPrefix(line, found), "#")
				understood(t, "harness "+command)
				commands++
			}
		}
	}
	assert.Greater(t, commands, 30)
}

func TestAWrongWordIsRefusedWithTheNearOneLastOnTheScreen(t *testing.T) {
	for line, last := range map[string]string{
		"adit":                              "  harness audit",
		"adit --json":                       "  harness audit",
		"--log json adit":                   "  harness audit",
		"deadletter list":                   "  harness deadletters",
		"letters":                           "  harness deadletters",
		"start":                             "  harness up",
		"help adit":                         "  harness audit",
		"help outbox lost":                  "  harness outbox list",
		"deadletters lst --json":            "  harness deadletters list",
		"outbox requeu --all":               "  harness outbox requeue",
		"new reactoin greet":                "  harness new reaction",
		"completion fisch":                  "  harness completion fish",
		"audit --dta x":                     "  --data",
		"audit -grace 1s":                   "  --grace",
		"-version":                          "  --version",
		"deadletters replay --park-afer 2":  "  --park-after",
		"--audit-intervall 1s":              "  --audit-interval",
		"down":                              "See harness --help.",
		"down now":                          "See harness --help.",
		"audit --nonsense":                  "See harness audit --help.",
		"up now":                            "See harness up --help.",
		"new function a":                    "See harness new --help.",
		"new reaction --on order.confirmed": "See harness new reaction --help.",
		"new reaction a --on x b":           "See harness new reaction --help.",
		"deadletters":                       "See harness deadletters --help.",
		"--addr 8080":                       "See harness --help.",
		"audit --log xml":                   "See harness audit --help.",
		"audit --grace soon":                "See harness audit --help.",
		"health --addr":                     "See harness health --help.",
		"deadletters list --limit many":     "See harness deadletters list --help.",
	} {
		t.Run(line, func(t *testing.T) {
			var out bytes.Buffer
			err := run(t.Context(), strings.Fields(line), streams{&out, &out})
			require.Error(t, err)
			assert.Equal(t, exitUsage, exitCode(err))
			lines := strings.Split(err.Error(), "\n")
			assert.Equal(t, last, lines[len(lines)-1])
			assert.Empty(t, out.String(), "the error is what is on the screen")
		})
	}
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	for line, says := range map[string]string{
		"new reaction a --on x b": `"b" is not understood`,
		"up now":                  `"now" is not understood`,
		"down now":                `unknown command "harness down"`,
		"--addr 8080":             "give host:port",
		"--log xml":               "give text or json",
		"outbox":                  "one of discard, list, purge, requeue, resend, show",
	} {
		assert.ErrorContains(t, run(t.Context(), strings.Fields(line), streams{io.Discard, io.Discard}), says, line)
	}
}

func TestACommandThatCannotReachItsServersHasItsOwnExitCode(t *testing.T) {
	nowhere := porttest.Address(t)
	t.Setenv("MYSQL_DSN", "root@tcp("+nowhere+")/")
	t.Setenv("KAFKA_BROKERS", nowhere)
	for _, line := range []string{
		"health --addr " + nowhere, "health --data " + t.TempDir(), "audit", "migrate", "outbox list", "deadletters list", "deadletters replay --all",
	} {
		t.Run(line, func(t *testing.T) {
			t.Setenv("HARNESS_EPHEMERAL", "true")
			err := run(t.Context(), strings.Fields(line), streams{io.Discard, io.Discard})
			require.Error(t, err)
			assert.Equal(t, exitUnreachable, exitCode(err), err)
		})
	}
}

func TestAMissingFileIsNoServerThatCannotBeReached(t *testing.T) {
	_, err := os.Open(filepath.Join(t.TempDir(), "none"))
	assert.Equal(t, exitFinding, exitCode(fmt.Errorf("read the corrected value: %w", err)))
}

func TestAnInterruptIsNoFinding(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	addr := answering(t, func(_ http.ResponseWriter, r *http.Request) {
		interrupt()
		<-r.Context().Done()
	})
	err := run(ctx, []string{"health", "--addr", addr}, streams{io.Discard, io.Discard})
	assert.Equal(t, exitInterrupted, exitCode(err), err)
}

func TestAProcessEndsWithTheExitCodeOfItsError(t *testing.T) {
	t.Parallel()
	unwell := answering(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	for line, code := range map[string]int{
		"help":                                 0,
		"health --addr " + unwell:              exitFinding,
		"adit":                                 exitUsage,
		"bench --orders 0":                     exitUsage,
		"health --addr " + porttest.Address(t): exitUnreachable,
	} {
		p := launch(t, nil, strings.Fields(line)...)
		<-p.ended
		if code == 0 {
			assert.NoError(t, p.err, line)
			continue
		}
		assert.Equal(t, code, p.exitCode(t), line)
		assert.Empty(t, p.stdout.String(), "errors go to standard error")
	}
}

func TestACommandThatLooksAtDataMakesNone(t *testing.T) {
	for _, line := range []string{
		"audit", "deadletters list", "deadletters show", "deadletters replay --all --dry-run", "outbox list", "outbox purge --older-than 1h --dry-run", "health", "bench --running",
	} {
		t.Run(line, func(t *testing.T) {
			for _, name := range []string{"MYSQL_DSN", "KAFKA_BROKERS"} {
				t.Setenv(name, "")
			}
			folder := filepath.Join(t.TempDir(), "mistyped")

			err := run(t.Context(), append(strings.Fields(line), "--data", folder), streams{io.Discard, io.Discard})

			require.ErrorContains(t, err, folder)
			assert.Equal(t, exitUnreachable, exitCode(err), err)
			assert.NoDirExists(t, folder)
		})
	}
}

func TestACommandThatIsEphemeralNeedsTheServersOfTheEnvironment(t *testing.T) {
	for _, line := range []string{"audit", "deadletters list", "outbox list"} {
		t.Run(line, func(t *testing.T) {
			for _, name := range []string{"MYSQL_DSN", "KAFKA_BROKERS"} {
				t.Setenv(name, "")
			}
			temporary := t.TempDir()
			t.Setenv("TMPDIR", temporary)

			err := run(t.Context(), append(strings.Fields(line), "--ephemeral"), streams{io.Discard, io.Discard})

			require.ErrorContains(t, err, "set MYSQL_DSN")
			assert.Equal(t, exitUsage, exitCode(err), err)
			left, err := os.ReadDir(temporary)
			require.NoError(t, err)
			assert.Empty(t, left)
		})
	}
}
