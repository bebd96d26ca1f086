package main

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
)

// versionTwo is the schema of version 2 of order.created. The functions of the commit before the one that added it know only
// version 1.
const versionTwo = "events/schemas/order.created.v2.json"

// buildPrevious builds the harness of the last commit without versionTwo and returns its path. Without -trimpath the build cache
// would not know the packages again, whose folder is new each time.
func buildPrevious(t *testing.T) string {
	t.Helper()
	run := func(dir, name string, args ...string) (string, error) {
		command := exec.CommandContext(t.Context(), name, args...)
		command.Dir = dir
		text, err := command.CombinedOutput()
		return strings.TrimSpace(string(text)), err
	}
	shallow, err := run(root, "git", "rev-parse", "--is-shallow-repository")
	require.NoError(t, err, shallow)
	if shallow == "true" {
		t.Skip("the previous version cannot be built: its commit may not be in this clone; fetch the whole history: git fetch --unshallow")
	}
	added, err := run(root, "git", "log", "--diff-filter=A", "--format=%H", "-1", "--", versionTwo)
	require.NoError(t, err, added)
	previous, err := run(root, "git", "rev-parse", "--verify", added+"^")
	require.NoError(t, err, "a commit before that of %s: %s", versionTwo, previous)
	t.Logf("the previous version is that of %s", previous)
	folder := t.TempDir()
	archive, source, program := filepath.Join(folder, "source.tar"), filepath.Join(folder, "source"), filepath.Join(folder, "harness")
	require.NoError(t, os.Mkdir(source, 0o755))
	text, err := run(root, "git", "archive", "--format=tar", "--output="+archive, previous)
	require.NoError(t, err, text)
	text, err = run(source, "tar", "-xf", archive)
	require.NoError(t, err, text)
	text, err = run(source, "go", "build", "-trimpath", "-o", program, "./functions/harness")
	require.NoError(t, err, text)
	return program
}

// written counts the records of a topic whose data names a version of order.created.
func (m *member) written(t *testing.T, topic, version string) (n int) {
	t.Helper()
	for _, r := range m.topics(t).All(t, m.topicPrefix()+topic) {
		if strings.HasPrefix(string(r.Value), `{"eventType":"order.created","version":`+version+",") {
			n++
		}
	}
	return n
}

// An upgrade and the way back, while customers order: the previous version and this one work side by side as long as version
// 1 of order.created is emitted. If version 2 is emitted too early, the previous version sets it aside, and nothing is lost.
func TestAnUpgradeGoesBothWaysUnderLoad(t *testing.T) {
	if os.Getenv("UPGRADE") == "" {
		t.Skip("builds the previous version: run with UPGRADE=1, as .ci/run upgrade does")
	}
	members := newMembers(t, 2)
	previous, current := members[0], members[1]
	begin := time.Now()
	previous.program = buildPrevious(t)
	t.Logf("the previous version is built in %s", time.Since(begin).Round(time.Second))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	emit := func(version string) { current.environ = append(current.environ, "ORDER_CREATED_VERSION="+version) }
	letters := events.OrderCreatedType + ".dlq"
	l := newLoad("http://"+previous.address, "http://"+current.address)
	l.pace = 100 * time.Millisecond

	previous.start(t)
	l.start(ctx, 1, 0)
	emit("1")
	current.start(t)
	t.Logf("an order takes %s in both versions together", throughAll(ctx, t, l, current.process))
	previous.drain(t)
	t.Logf("an order takes %s after the upgrade", throughAll(ctx, t, l, current.process))
	previous.start(t)
	current.drain(t)
	t.Logf("an order takes %s after the way back", throughAll(ctx, t, l, previous.process))
	require.Zero(t, previous.written(t, letters, "1")+previous.written(t, letters, "2"), "either version takes what the other emits")

	previous.drain(t)
	previous.start(t, "--chaos", "poison=0.5", "--chaos-function", "reserve-stock")
	previous.await(t, "the previous version has set some of its own events aside", func() bool { return previous.written(t, letters, "1") >= 5 })
	previous.drain(t)
	previous.start(t)
	emit("2")
	current.start(t)
	previous.await(t, "the previous version has set events of version 2 aside", func() bool { return previous.written(t, letters, "2") >= 5 })
	old := previous.written(t, letters, "1")
	previous.drain(t)

	t.Logf("an order takes %s after the upgrade to version 2", throughAll(ctx, t, l, current.process))
	early := current.written(t, letters, "2")
	assert.Equal(t, old, current.written(t, letters, "1"))
	l.end()
	refused := 0
	for _, letter := range current.letters(t, "--limit", "0") {
		if strings.Contains(letter.Error, events.ErrUnknownVersion.Error()+" 2") {
			refused++
		}
	}
	assert.Equal(t, early, refused, "each letter of version 2 says why it is one")
	replayed := current.operate(t, "", "deadletters replay --all --reason upgraded --actor carol")
	assert.Contains(t, replayed, " letters replayed")
	assert.Empty(t, current.letters(t, "--state", "open"))

	d := current.databases(t)
	took, v, err := l.settle(ctx, d, 2*time.Minute)
	d.close()
	require.NoError(t, err)
	t.Logf("%d orders in %d events of version 1 and %d of version 2, %d and %d of them replayed, settled after %s: lost %d, doubled %d, oversold %d",
		len(l.placed), current.written(t, events.OrderCreatedType, "1"), current.written(t, events.OrderCreatedType, "2"), old, early,
		took.Round(time.Millisecond), v.lost, v.doubled, v.oversold)
	assert.Empty(t, v.what)
	assert.Empty(t, l.broken)
	assert.Equal(t, http.StatusOK, current.get(t, "/health", nil))
	current.audit(t)
	current.drain(t)
}
