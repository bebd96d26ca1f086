package scaffold_test

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/operate/scaffold"
)

var created = time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)

const root = "../../../.."

// checkout copies the files of this checkout that git knows or would take.
func checkout(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	names := command(t, root, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	for name := range strings.SplitSeq(strings.TrimSuffix(names, "\x00"), "\x00") {
		text, err := os.ReadFile(filepath.Join(root, name))
		if os.IsNotExist(err) {
			continue // removed, and not committed yet
		}
		require.NoError(t, err)
		path := filepath.Join(folder, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, text, 0o644))
	}
	return folder
}

// command runs a program in a folder and returns what it writes to standard output.
func command(t *testing.T, folder, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 9*time.Minute) // go test ends a package after ten
	defer cancel()
	run := exec.CommandContext(ctx, name, args...)
	run.Dir = folder
	var stdout, stderr bytes.Buffer
	run.Stdout, run.Stderr = &stdout, &stderr
	require.NoError(t, run.Run(), "%s %s\n%s%s", name, strings.Join(args, " "), &stdout, &stderr)
	return stdout.String()
}

// contents reads all files below a folder.
func contents(t *testing.T, folder string) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(folder, path)
		all[filepath.ToSlash(name)] = string(text)
		return err
	}))
	return all
}

// write writes a reaction and holds that it returns what it has made and changed, and nothing else.
func write(t *testing.T, folder string, r scaffold.Reaction) {
	t.Helper()
	before := contents(t, folder)
	changes, err := r.Write(folder)
	require.NoError(t, err)
	want := map[string]bool{}
	for name, text := range contents(t, folder) {
		if old, there := before[name]; !there || old != text {
			want[name] = !there
		}
	}
	got := map[string]bool{}
	for _, c := range changes {
		got[c.Path] = c.Made
	}
	assert.Equal(t, want, got)
}

// TestWhatIsWrittenPasses runs those tests on a checkout with new functions that look at all functions, events and manifests.
// One emits, one reacts to that and says nothing, one is of another service, and one reacts to what an overlay sends
// elsewhere. Two are of the overlay payment: one reacts to its events and emits, one to those of the base.
func TestWhatIsWrittenPasses(t *testing.T) {
	t.Parallel()
	folder := checkout(t)
	write(t, folder, scaffold.Reaction{Name: "award-points", On: "order.confirmed", Emits: "points.awarded", Now: created})
	write(t, folder, scaffold.Reaction{Name: "welcome", On: "points.awarded", Now: created})
	write(t, folder, scaffold.Reaction{Name: "recount-stock", On: "inventory.released", Emits: "recount.asked", Now: created})
	write(t, folder, scaffold.Reaction{Name: "greet", On: "order.created", Now: created})
	write(t, folder, scaffold.Reaction{Name: "book-payment", On: "payment.refunded", Emits: "books.kept", Overlay: "payment", Now: created})
	write(t, folder, scaffold.Reaction{Name: "thank-payer", On: "order.confirmed", Overlay: "payment", Now: created})

	assert.Empty(t, command(t, folder, "gofmt", "-l", "events", "functions", "knative"))
	// By a skip and not by a choice, so that a test that is added is run: these say nothing about a new function and take long.
	command(t, folder, "go", "test", "-skip", "TestEveryFunctionOf|TestDecode|Fuzz|Stock|Reserv|Batch|Column|Record", "./events", "./knative", "./functions", "./functions/awardpoints", "./functions/welcome", "./functions/bookpayment", "./functions/thankpayer")
	command(t, folder, "go", "test", "-vet=off", "-run", "TestEveryFactIsDrawn", "./functions/internal/operate/console")
	command(t, folder, "go", "test", "-vet=off", "./functions/internal/operate/asyncapi")
}

func TestWhatCannotBeWrittenIsRefusedWithWhatToDo(t *testing.T) {
	folder := checkout(t)
	require.NoError(t, os.WriteFile(filepath.Join(folder, "events", "gone.go"), []byte("package events\n"), 0o644))
	before := contents(t, folder)
	for name, refused := range map[string]struct {
		reaction scaffold.Reaction
		says     string
	}{
		"no name":                       {scaffold.Reaction{On: "order.confirmed"}, `the name "": give at most 40 small letters`},
		"a name of capitals":            {scaffold.Reaction{Name: "AwardPoints", On: "order.confirmed"}, `the name "AwardPoints": give at most 40 small letters`},
		"a name that leaves the folder": {scaffold.Reaction{Name: "../up", On: "order.confirmed"}, "give at most 40 small letters"},
		"a word of Go":                  {scaffold.Reaction{Name: "go-to", On: "order.confirmed"}, "no function can be in the folder goto"},
		"a folder of something else":    {scaffold.Reaction{Name: "harness", On: "order.confirmed"}, "no function can be in the folder harness"},
		"a function that is there":      {scaffold.Reaction{Name: "notify", On: "order.confirmed"}, "functions/notify/notify.go is there already"},
		"a folder that is there":        {scaffold.Reaction{Name: "reserves-tock", On: "order.confirmed"}, "functions/reservestock/reservestock.go is there already"},
		"a manifest that is there":      {scaffold.Reaction{Name: "topics", On: "order.confirmed"}, "knative/base/topics.yaml is there already"},
		"an unknown event":              {scaffold.Reaction{Name: "award-points", On: "order.lost"}, `--on "order.lost": no event has this type: give one of order.created, order.confirmed, order.failed`},
		"an event of an overlay":        {scaffold.Reaction{Name: "award-points", On: "payment.authorized"}, `--on "payment.authorized": no event has this type`},
		"an unknown overlay":            {scaffold.Reaction{Name: "award-points", On: "order.confirmed", Overlay: "money"}, `there is no overlay "money": use base or`},
		"a manifest of the overlay":     {scaffold.Reaction{Name: "topics", On: "order.confirmed", Overlay: "payment"}, "knative/components/payment/topics.yaml is there already"},
		"no event":                      {scaffold.Reaction{Name: "award-points"}, `--on "": no event has this type`},
		"dead letters":                  {scaffold.Reaction{Name: "award-points", On: "order.confirmed.dlq"}, "no event has this type"},
		"a schema without an outbox":    {scaffold.Reaction{Name: "award-points", On: "order.confirmed", Schema: "notifications"}, `--schema "notifications": it has no inbox and no outbox, or is not there: give one of inventory, orders`},
		"an event that is there":        {scaffold.Reaction{Name: "award-points", On: "order.confirmed", Emits: "order.failed"}, "the family order is there already, with order.created. The facts of a family have one source"},
		"another event of a family":     {scaffold.Reaction{Name: "award-points", On: "order.confirmed", Emits: "inventory.counted"}, "the family inventory is there already"},
		"an event without a family":     {scaffold.Reaction{Name: "award-points", On: "order.confirmed", Emits: "awarded"}, "give family.fact"},
		"an event of capitals":          {scaffold.Reaction{Name: "award-points", On: "order.confirmed", Emits: "Points.Awarded"}, "give family.fact"},
		"a word of Go as a fact":        {scaffold.Reaction{Name: "award-points", On: "order.confirmed", Emits: "points.return"}, "return is a word of Go"},
		"a name of the package events":  {scaffold.Reaction{Name: "award-points", On: "order.confirmed", Emits: "create.order"}, "the package events has a CreateOrder already"},
		"an event whose file is there":  {scaffold.Reaction{Name: "award-points", On: "order.confirmed", Emits: "gone.by"}, "events/gone.go is there already"},
		"all that is wrong at once":     {scaffold.Reaction{Name: "A", On: "b", Emits: "c"}, `--emits "c"`},
	} {
		t.Run(name, func(t *testing.T) {
			changes, err := refused.reaction.Write(folder)
			assert.ErrorContains(t, err, refused.says)
			assert.Empty(t, changes)
		})
	}
	assert.Equal(t, before, contents(t, folder), "nothing is written")
}

func TestAFileThatIsNotAsExpectedIsNamedAndNothingIsWritten(t *testing.T) {
	t.Parallel()
	for name, spoilt := range map[string]struct{ path, old, says string }{
		"the catalogue":     {"functions/functions.go", "func() Function {", "functions/functions.go: there is no line like"},
		"the list of files": {"knative/base/kustomization.yaml", "\n  - publish-outbox-orders.yaml", "knative/base/kustomization.yaml: there is no line that begins with"},
		"the table":         {"events/README.md", "[order.confirmed]", "events/README.md: no table has a row about order.confirmed"},
		"the images":        {"knative/components/local/kustomization.yaml", "/publish-outbox-orders", "knative/components/local/kustomization.yaml: there is no image of publish-outbox-orders"},
		"the golden file":   {"events/golden_test.go", "var samples =", "events/golden_test.go: there is no block that begins with"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := checkout(t)
			path := filepath.Join(folder, spoilt.path)
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Contains(t, string(text), spoilt.old)
			changed := strings.ReplaceAll(string(text), spoilt.old, "")
			if strings.HasSuffix(path, "kustomization.yaml") && strings.Contains(path, "base") {
				changed += "  - publish-outbox-orders.yaml # last\n"
				changed = strings.Replace(changed, "  - publish-outbox-orders.yaml # last", "  -   publish-outbox-orders.yaml", 1)
			}
			require.NoError(t, os.WriteFile(path, []byte(changed), 0o644))
			before := contents(t, folder)

			changes, err := scaffold.Reaction{Name: "award-points", On: "order.confirmed", Emits: "points.awarded", Now: created}.Write(folder)

			assert.ErrorContains(t, err, spoilt.says)
			assert.Empty(t, changes)
			assert.Equal(t, before, contents(t, folder))
		})
	}
}

func TestTheRootIsThatOfThisModule(t *testing.T) {
	folder := t.TempDir()
	_, err := scaffold.Root(folder)
	assert.ErrorIs(t, err, scaffold.ErrNoCheckout)
	require.NoError(t, os.WriteFile(filepath.Join(folder, "go.mod"), []byte("module example.com/orders\n\ngo 1.26\n"), 0o644))
	inner := filepath.Join(folder, "functions", "notify")
	require.NoError(t, os.MkdirAll(inner, 0o755))
	for _, from := range []string{folder, inner} {
		found, err := scaffold.Root(from)
		require.NoError(t, err)
		assert.Equal(t, folder, found)
	}
	require.NoError(t, os.WriteFile(filepath.Join(folder, "go.mod"), []byte("module example.com/ordersandmore\n"), 0o644))
	_, err = scaffold.Root(inner)
	assert.ErrorIs(t, err, scaffold.ErrNoCheckout)
}
