package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"example.com/orders/functions/internal/operate/deadletter"
)

// replayGrace is how long deliveries go on that are under way at Ctrl-C.
const replayGrace = 10 * time.Second

// change changes letters, or prints the changes. It shows its progress, the letters that were not changed and the total, also
// if it is stopped, and fails unless all were changed.
func (c *letterCommand) change(out streams, letters []deadletter.Summary, done string, note func(deadletter.Summary) (string, error), do func([]deadletter.Summary, deadletter.Report) error) error {
	if c.limit > 0 && len(letters) > c.limit {
		letters = letters[:c.limit]
	}
	if c.dryRun {
		return wouldChange(out, letters, done, note)
	}
	t := newTally(out, len(letters), done)
	err := do(letters, t.report)
	return t.end(err)
}

// wouldChange prints what change would do, one line per letter.
func wouldChange(out streams, letters []deadletter.Summary, done string, note func(deadletter.Summary) (string, error)) error {
	would := 0
	for _, l := range letters {
		more, err := "", error(nil)
		if note != nil {
			more, err = note(l)
		}
		line := "would be " + done + more
		if err != nil {
			line = "would not be " + done + ": " + err.Error()
		} else {
			would++
		}
		fmt.Fprintf(out.stdout, "%s  %s %s of %s: %s\n", l.Place, l.State, plainText(l.EventID), consumerOf(l, "no consumer"), line)
	}
	fmt.Fprintf(out.stdout, "%s would be %s\n", counted(would, "letter", "letters"), done)
	return nil
}

// tally counts the results of a change of many letters.
type tally struct {
	out    streams
	total  int
	done   string // what was done to a letter, in the past tense
	counts map[deadletter.Result]int
	begin  time.Time

	// terminal is whether the progress is one line that is overwritten.
	terminal bool
	shown    time.Time
}

// listed is the number of letters up to which those that were changed have their lines too.
const listed = 20

func newTally(out streams, total int, done string) *tally {
	now := time.Now()
	return &tally{out: out, total: total, done: done, counts: map[deadletter.Result]int{}, begin: now, shown: now, terminal: isTerminal(out.stderr)}
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// report counts a result, and prints it unless it is one success of many.
func (t *tally) report(l deadletter.Summary, r deadletter.Result, detail string) {
	t.counts[r]++
	if r != deadletter.Done || t.total <= listed {
		result := string(r)
		if r == deadletter.Done {
			result = t.done
		}
		if detail != "" {
			result += ": " + detail
		}
		t.clear()
		fmt.Fprintf(t.out.stdout, "%s  %s of %s: %s\n", l.Place, plainText(l.EventID), consumerOf(l, "no consumer"), result)
	}
	t.progress(time.Now())
}

// reported is the number of letters that have a result.
func (t *tally) reported() (n int) {
	for _, count := range t.counts {
		n += count
	}
	return n
}

// progress shows how far the change is: on a terminal several times a second, elsewhere in a line every few seconds.
func (t *tally) progress(now time.Time) {
	every := 5 * time.Second
	if t.terminal {
		every = 200 * time.Millisecond
	}
	if now.Sub(t.shown) < every {
		return
	}
	t.shown = now
	n, elapsed := t.reported(), now.Sub(t.begin)
	line := fmt.Sprintf("%d of %d, %d %s, %.0f/s", n, t.total, t.counts[deadletter.Done], t.done, float64(n)/elapsed.Seconds())
	if t.terminal {
		fmt.Fprint(t.out.stderr, "\r\x1b[K"+line)
	} else {
		fmt.Fprintln(t.out.stderr, line)
	}
}

// clear removes the line of progress from a terminal.
func (t *tally) clear() {
	if t.terminal {
		fmt.Fprint(t.out.stderr, "\r\x1b[K")
	}
}

// end prints the totals, and returns the error of the change, which ended with err.
func (t *tally) end(err error) error {
	t.clear()
	fmt.Fprintf(t.out.stdout, "%s %s\n", counted(t.counts[deadletter.Done], "letter", "letters"), t.done)
	var others []string
	for _, r := range slices.Sorted(maps.Keys(t.counts)) {
		if r != deadletter.Done {
			others = append(others, fmt.Sprintf("%d %s", t.counts[r], r))
		}
	}
	if len(others) > 0 {
		fmt.Fprintln(t.out.stdout, strings.Join(others, ", "))
	}
	untouched := t.total - t.reported()
	if untouched > 0 {
		fmt.Fprintf(t.out.stdout, "%s as before\n", counted(untouched, "letter is", "letters are"))
	}
	left := t.total - t.counts[deadletter.Done]
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("stopped: %s not %s: run the command again for the rest", counted(left, "letter was", "letters were"), t.done)
	case err == nil && left > 0:
		return fmt.Errorf("%s not %s", counted(left, "letter was", "letters were"), t.done)
	default:
		return err
	}
}
