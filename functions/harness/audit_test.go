package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/operate/audit"
	"example.com/orders/sql/schema"
)

// exec changes rows in a running harness's database directly.
func (p *process) exec(t *testing.T, name, statement string, args ...any) {
	t.Helper()
	run, err := readRun(p.stack.data)
	require.NoError(t, err)
	server := schema.Server{DSN: run.DSN, Prefix: p.stack.variable("MYSQL_SCHEMA_PREFIX")}
	db, err := server.Open(name, 1)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	_, err = db.ExecContext(t.Context(), statement, args...)
	require.NoError(t, err)
}

// metrics returns the Prometheus metrics.
func (p *process) metrics(t *testing.T) string {
	t.Helper()
	response, err := http.Get(p.url + "/metrics")
	require.NoError(t, err)
	defer func() { assert.NoError(t, response.Body.Close()) }()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(text)
}

func (p *process) awaitMetric(t *testing.T, line string) {
	t.Helper()
	p.awaitMetricWithin(t, time.Minute, line)
}

func (p *process) awaitMetricWithin(t *testing.T, bound time.Duration, line string) {
	t.Helper()
	p.awaitWithin(t, bound, line, func() bool { return strings.Contains(p.metrics(t), line+"\n") })
}

// auditWithin bounds the wait for an audit. The harness pauses after each for twenty times as long as it took, which is minutes on a
// machine that is busy with other things.
const auditWithin = 10 * time.Minute

func (p *process) awaitAudited(t *testing.T, line string) {
	t.Helper()
	p.awaitMetricWithin(t, auditWithin, line)
}

func TestAuditCommandFailsWhenSomethingIsWrong(t *testing.T) {
	t.Parallel()
	p := newStack(t).up(t, "--audit-interval", "0")
	o := p.place(t, "SKU-123", 2)
	p.awaitStatus(t, o.OrderID, "CONFIRMED")
	p.audit(t)
	p.exec(t, schema.Orders, "UPDATE orders SET total_amount = 1 WHERE id = ?", o.OrderID)

	a := launch(t, p.stack.environ, "audit", "--data", p.stack.data)
	<-a.ended
	assert.Equal(t, exitFinding, a.exitCode(t))
	assert.Contains(t, a.log.String(), "the audit found 1 breach")
	assert.Contains(t, a.stdout.String(), "BREACH  totals")
	assert.Contains(t, a.stdout.String(), o.OrderID)

	a = launch(t, p.stack.environ, "audit", "--data", p.stack.data, "--json", "--grace", "1s")
	<-a.ended
	assert.Error(t, a.err)
	var report audit.Report
	require.NoError(t, json.Unmarshal(a.stdout.Bytes(), &report))
	assert.Equal(t, 1, report.Breaches())
	assert.Positive(t, report.Took)
	assert.NotContains(t, p.metrics(t), "orders_audit", "it is not audited by itself")
}

func TestAuditCommandWorksOnAHarnessThatIsStopped(t *testing.T) {
	t.Parallel()
	p := newStack(t).up(t)
	o := p.place(t, "SKU-123", 2)
	p.awaitStatus(t, o.OrderID, "CONFIRMED")
	p.stop(t)
	p.audit(t)
}

func TestHarnessLogsABreachOnce(t *testing.T) {
	t.Parallel()
	p := newStack(t).up(t, "--audit-interval", "10ms")
	o := p.place(t, "SKU-123", 2)
	p.awaitStatus(t, o.OrderID, "CONFIRMED")
	p.awaitAudited(t, `orders_audit_breaches{invariant="totals"} 0`)

	breach := func() { p.exec(t, schema.Orders, "UPDATE orders SET total_amount = 1 WHERE id = ?", o.OrderID) }
	logged := func() int {
		return strings.Count(p.log.String(), `level=ERROR msg="audit found a breach" invariant=totals`)
	}
	breach()
	p.awaitAudited(t, `orders_audit_breaches{invariant="totals"} 1`)
	p.await(t, "the breach is logged", func() bool { return logged() > 0 })
	assert.Contains(t, p.metrics(t), "orders_audit_time_seconds ")

	p.exec(t, schema.Orders, "UPDATE orders SET total_amount = 2598 WHERE id = ?", o.OrderID)
	p.awaitAudited(t, `orders_audit_breaches{invariant="totals"} 0`)
	assert.Equal(t, 1, logged())
	breach()
	p.awaitWithin(t, auditWithin, "the breach that came back is logged", func() bool { return logged() == 2 })
}

func TestAuditingLogsWhatIsNew(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	a, err := newAuditing(map[string]string{"MYSQL_DSN": "root@tcp(127.0.0.1:1)/"}, time.Second, prometheus.NewRegistry(), slog.New(slog.NewTextHandler(&text, nil)))
	require.NoError(t, err)
	assert.Nil(t, a.lastReport())
	lines := func(report *audit.Report, err error) int {
		text.Reset()
		a.note(report, err)
		return strings.Count(text.String(), "\n")
	}
	found := func(breaches ...string) *audit.Report {
		return &audit.Report{Invariants: []*audit.Invariant{{Name: audit.Stock, Breached: len(breaches), Breaches: breaches}}}
	}
	assert.Equal(t, 2, lines(found("one", "two"), nil))
	assert.Equal(t, 1, lines(found("two", "three"), nil))
	assert.Equal(t, 2, a.lastReport().Breaches())
	assert.Equal(t, 1, lines(nil, errors.New("away")))
	assert.Equal(t, 0, lines(nil, errors.New("away")), "an outage is logged once")
	assert.NotNil(t, a.lastReport(), "the report before it stays")
	assert.Equal(t, 0, lines(found("two", "three"), nil))
	assert.Equal(t, 1, lines(nil, errors.New("away again")))
	var none *auditing
	assert.Nil(t, none.lastReport())
}

func TestAuditCommandReadsWhatHasChangedSinceItsLastAudit(t *testing.T) {
	t.Parallel()
	p := newStack(t).up(t, "--audit-interval", "0")
	o := p.place(t, "SKU-123", 2)
	p.awaitStatus(t, o.OrderID, "CONFIRMED")
	file := filepath.Join(t.TempDir(), "checkpoint")
	run := func() *process {
		a := launch(t, p.stack.environ, "audit", "--data", p.stack.data, "--since", file)
		<-a.ended
		return a
	}
	first := run()
	require.NoError(t, first.err, first.log.String())
	assert.NotContains(t, first.stdout.String(), "changed since")
	assert.FileExists(t, file)

	second := run()
	require.NoError(t, second.err, second.log.String())
	assert.Contains(t, second.stdout.String(), "audited what has changed since ")

	p.exec(t, schema.Orders, "UPDATE orders SET total_amount = 1 WHERE id = ?", o.OrderID)
	third := run()
	assert.Equal(t, exitFinding, third.exitCode(t))
	assert.Contains(t, third.stdout.String(), "audited everything: the incremental audit found a breach")
	assert.NoFileExists(t, file, "the next audit is a full one")

	require.NoError(t, os.WriteFile(file, []byte("something else"), 0o600))
	fourth := run()
	assert.Equal(t, exitUsage, fourth.exitCode(t))
	assert.Contains(t, fourth.log.String(), "is damaged")
}

func TestFullAuditsAreAsRareAsTheyTakeLong(t *testing.T) {
	t.Parallel()
	now := time.Now()
	full, changes := &audit.Report{}, &audit.Report{Since: &now}
	found := &audit.Report{Full: "the incremental audit found a breach"}
	for name, c := range map[string]struct {
		report     *audit.Report
		checkpoint *audit.Checkpoint
		want       time.Duration
	}{
		"after a full one":                        {full, &audit.Checkpoint{}, time.Second},
		"after a full one with a breach":          {full, nil, time.Minute},
		"after one that had to be full":           {found, &audit.Checkpoint{}, time.Minute},
		"after one of changes":                    {changes, &audit.Checkpoint{}, time.Minute},
		"after one of changes with too much open": {changes, nil, time.Hour},
	} {
		a := &auditing{every: time.Second, checkpoint: c.checkpoint, fullAgain: now.Add(time.Hour)}
		assert.Equal(t, c.want, a.pauseAfter(c.report, now, time.Minute), name)
	}
}
