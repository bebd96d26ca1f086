package failpoint

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const asVictim = "FAILPOINT_TEST_IS_VICTIM"

func TestMain(m *testing.M) {
	if plan := os.Getenv(asVictim); plan != "" {
		victim(plan)
		return
	}
	os.Exit(m.Run())
}

// victim passes two points in the names of two functions, and prints how far it gets.
func victim(plan string) {
	if err := Arm(plan); err != nil {
		panic(err)
	}
	for range 3 {
		for _, name := range []string{"a-function", "another"} {
			ctx := In(context.Background(), name)
			Pass(ctx, BeforeCommit)
			_, _ = os.Stdout.WriteString(name + "\n")
			Pass(ctx, AfterCommit)
		}
	}
}

func TestProcessDiesAtThePassOfThePlan(t *testing.T) {
	tests := map[string]struct {
		plan   string
		passed int
		dies   bool
	}{
		"the first pass":               {"a-function.before-commit=kill@1", 0, true},
		"a later pass":                 {"another.before-commit=kill@2", 3, true},
		"behind the work":              {"another.after-commit=kill@1", 2, true},
		"the earlier of two":           {"another.after-commit=kill@3; a-function.after-commit=kill@2", 3, true},
		"a pass that never comes":      {"another.after-commit=kill@4", 6, false},
		"a function without it":        {"notify.after-commit=kill@1", 6, false},
		"a point that is never passed": {"another.mail-sent=kill@1", 6, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			command := exec.CommandContext(t.Context(), os.Args[0])
			command.Env = append(os.Environ(), asVictim+"="+test.plan)
			out, err := command.Output()
			assert.Equal(t, test.passed, strings.Count(string(out), "\n"))
			if !test.dies {
				require.NoError(t, err)
				return
			}
			var died *exec.ExitError
			require.ErrorAs(t, err, &died)
			assert.Equal(t, syscall.SIGKILL, died.Sys().(syscall.WaitStatus).Signal())
			assert.Contains(t, string(died.Stderr), "failpoint: killed at ")
		})
	}
}

func TestWithoutAPlanNothingHappens(t *testing.T) {
	require.NoError(t, Arm(""))
	assert.Empty(t, Armed())
	ctx := In(t.Context(), "a-function")
	assert.Equal(t, t.Context(), ctx, "nothing is carried along")
	assert.Zero(t, testing.AllocsPerRun(100, func() { Pass(ctx, BeforeCommit) }))
}

func TestArmRefusesWhatItDoesNotUnderstand(t *testing.T) {
	for name, plan := range map[string]string{
		"no function":      "before-commit=kill@1",
		"an unknown point": "notify.commit=kill@1",
		"no action":        "notify.mail-sent",
		"another action":   "notify.mail-sent=sleep@1",
		"no pass":          "notify.mail-sent=kill",
		"pass zero":        "notify.mail-sent=kill@0",
		"a point twice":    "notify.mail-sent=kill@1;notify.mail-sent=kill@2",
	} {
		t.Run(name, func(t *testing.T) {
			require.Error(t, Arm(plan))
			assert.Empty(t, Armed())
		})
	}
}
