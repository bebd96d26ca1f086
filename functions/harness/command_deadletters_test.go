package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/operate/deadletter"
	"example.com/orders/functions/internal/testkit/functiontest"
)

// changed runs a change of n letters that reports what result returns, and returns what it prints.
func changed(n int, result func(i int) deadletter.Result, ends error) (stdout, stderr string, err error) {
	var out, progress bytes.Buffer
	letters := make([]deadletter.Summary, n)
	for i := range letters {
		letters[i].Offset = int64(i)
	}
	c := letterCommand{}
	err = c.change(streams{stdout: &out, stderr: &progress}, letters, "replayed", nil, func(all []deadletter.Summary, report deadletter.Report) error {
		for i, l := range all {
			r := result(i)
			if r == "" {
				break
			}
			report(l, r, "because")
		}
		return ends
	})
	return out.String(), progress.String(), err
}

func TestAChangeOfManyLettersListsThoseThatWereNotChangedAndTheTotal(t *testing.T) {
	stdout, stderr, err := changed(1000, func(i int) deadletter.Result {
		if i == 7 {
			return deadletter.Failed
		}
		return deadletter.Done
	}, nil)

	require.EqualError(t, err, "1 letter was not replayed")
	assert.Equal(t, "/0/7   of no consumer: failed: because\n999 letters replayed\n1 failed\n", stdout)
	assert.Empty(t, stderr, "it took no time")
}

func TestAStoppedChangeSaysWhatWasDone(t *testing.T) {
	stdout, _, err := changed(1000, func(i int) deadletter.Result {
		if i == 300 {
			return ""
		}
		return deadletter.Done
	}, fmt.Errorf("somewhere: %w", context.Canceled))

	require.EqualError(t, err, "stopped: 700 letters were not replayed: run the command again for the rest")
	assert.Equal(t, "300 letters replayed\n700 letters are as before\n", stdout)
}

func TestAFailedChangeSaysWhatWasDoneBefore(t *testing.T) {
	away := errors.New("away")
	stdout, _, err := changed(2, func(i int) deadletter.Result { return []deadletter.Result{deadletter.Done, ""}[i] }, away)
	require.ErrorIs(t, err, away)
	assert.Equal(t, "/0/0   of no consumer: replayed: because\n1 letter replayed\n1 letter is as before\n", stdout)
}

func TestProgressIsALineEveryFewSecondsUnlessThereIsATerminal(t *testing.T) {
	var out bytes.Buffer
	tally := newTally(streams{stdout: &bytes.Buffer{}, stderr: &out}, 100, "replayed")
	tally.counts[deadletter.Done] = 50
	tally.progress(tally.begin.Add(4 * time.Second))
	assert.Empty(t, out.String())
	tally.progress(tally.begin.Add(5 * time.Second))
	tally.progress(tally.begin.Add(6 * time.Second))
	assert.Equal(t, "50 of 100, 50 replayed, 10/s\n", out.String())

	out.Reset()
	tally.terminal = true
	tally.progress(tally.begin.Add(7 * time.Second))
	tally.clear()
	assert.Equal(t, "\r\x1b[K50 of 100, 50 replayed, 7/s\r\x1b[K", out.String())
}

func TestACorrectedCopyIsSentFromTheCommandLine(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	p := s.up(t, "--chaos", "poison=1", "--chaos-function", "reserve-stock")
	o := p.place(t, "SKU-123", 2)
	l := p.awaitLetters(t, s, 1)[0]
	p.stop(t)
	p = s.up(t)
	file := filepath.Join(t.TempDir(), "corrected.json")
	one := []string{"--topic", "order.created", "--partition", fmt.Sprint(l.Partition), "--offset", strconv.FormatInt(l.Offset, 10), "--value", file}
	value := s.show(t)[0].Value
	write := func(text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }

	write(strings.Replace(value, `"quantity":2`, `"quantity":"2"`, 1))
	s.operate(t, "would refuse the corrected event", "deadletters correct", one...)
	assert.Contains(t, s.operate(t, "", "deadletters correct --dry-run", one...), "would not be corrected and replayed: a function would refuse")
	s.operate(t, "select one", "deadletters correct --topic order.canceled --value", file)
	s.operate(t, "--value", "deadletters correct", one[:6]...)
	assert.Equal(t, "open", s.letters(t)[0].State)

	write(value + "\n")
	assert.Contains(t, s.operate(t, "", "deadletters correct --reason typo --actor carol", one...), "1 letter corrected and replayed")

	p.awaitStatus(t, o.OrderID, "CONFIRMED")
	history := s.show(t)[0].History
	assert.Contains(t, history[0].Detail, "corrected copy: to ")
}

func TestLettersAreCountedByGroupAndSelectedByIt(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	p := s.up(t)
	p.produce(t, s, "order.created", "order-1", "no event at all")
	p.produce(t, s, "order.created", "order-2", "neither is this")
	n := consumers(t, "order.created")
	p.awaitLetters(t, s, 2*n)

	groups := lines[groupView](t, s.operate(t, "", "deadletters groups --json"))

	require.Len(t, groups, n)
	assert.Equal(t, 2, groups[0].Count)
	assert.Regexp(t, groups[0].ID+` +2 +`+groups[0].Consumer, s.operate(t, "", "deadletters groups"))
	assert.Len(t, s.letters(t, "--group", groups[0].ID), 2)
	assert.Contains(t, s.operate(t, "", "deadletters park --group", groups[0].ID), "2 letters parked")
	assert.Len(t, s.letters(t, "--state", "open"), 2*n-2)
}

// TestCtrlCEndsAReplayWhoseFunctionDoesNotAnswer has more letters than are delivered at the same time.
func TestCtrlCEndsAReplayWhoseFunctionDoesNotAnswer(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	p := s.up(t)
	for range 33 {
		p.putLetter(t, "reserve-stock", "{}")
	}
	entered, release := make(chan struct{}, 100), make(chan struct{})
	url := functiontest.Serve(t, func(http.ResponseWriter, *http.Request) { entered <- struct{}{}; <-release })
	t.Cleanup(func() { close(release) })
	replay := launch(t, s.environ, "deadletters", "replay", "--all", "--functions-url", url+"/{consumer}", "--data", s.data)
	for range 32 {
		<-entered
	}

	require.NoError(t, replay.cmd.Process.Signal(os.Interrupt))
	<-replay.ended

	require.Error(t, replay.err)
	assert.Contains(t, replay.stdout.String(), "0 letters replayed\n32 unclear\n1 letter is as before\n")
	assert.Contains(t, replay.log.String(), "stopped: 33 letters were not replayed: run the command again for the rest")
	assert.Empty(t, entered, "nothing else was sent")
	assert.Len(t, s.letters(t, "--state", "open"), 33)
}
